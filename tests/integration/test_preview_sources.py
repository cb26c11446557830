"""Previews of videos in buckets and on the web, of which little is read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from shoal.settings import Settings
from shoal.storage import storage_for
from tests import media
from tests.buckets import forget_clients, make_bucket
from tests.running import Processes, eventually
from tests.web import WebServer
from worker.video.probe import VideoLimits
from worker.video.still_reader import StillReader
from worker.video.stills import Wanted

LOOPBACK = "127.0.0.0/8"
MOST = 0.3  # of the bytes, for three stills: blocks of 256 KiB, and up to 4 MiB where it reads on


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A worker that stands still for some seconds is still known, and keeps its job."""
    return settings.model_copy(update={"lease_s": 60.0})


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, of which each picture takes about 200 kB."""
    path = tmp_path_factory.mktemp("large") / "large.mp4"
    noise = np.random.default_rng(0)
    pictures = [noise.integers(0, 256, (720, 1280, 3), np.uint8) for _ in range(8)]
    with av.open(str(path), "w") as container:
        stream = media.add_video(container, "mjpeg", (1280, 720), fps=25, pixel_format="yuvj420p")
        for number in range(150):
            frame = av.VideoFrame.from_ndarray(pictures[number % 8], format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert path.stat().st_size > 20 << 20
    return path


Put = Callable[[Path], str]


@contextmanager
def bucket(scheme: str, env: dict[str, str], patch: pytest.MonkeyPatch) -> Iterator[Put]:
    for name, value in env.items():
        patch.setenv(name, value)
    forget_clients()
    uri = f"{make_bucket(scheme)}/week 1/large.mp4"

    def put(path: Path) -> str:
        storage_for(uri, Settings()).put(path, uri, "video/mp4")
        return uri

    yield put
    forget_clients()


@contextmanager
def web() -> Iterator[Put]:
    server = WebServer()

    def put(path: Path) -> str:
        server.content = path.read_bytes()
        return f"{server.url}/large.mp4?X-Amz-Signature=s3cret"

    yield put
    assert all(asked for _, asked in server.asked), "it was asked for whole"
    server.close()


@pytest.fixture(params=["gs", "s3", "az", "https", "file"])
def put(
    request: pytest.FixtureRequest,
    bucket_servers: dict[str, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> Iterator[Put]:
    """Stores a file; gives its URI."""
    scheme = request.param
    if scheme == "file":
        settings.uploads_dir.mkdir(parents=True)
        yield lambda path: Path(shutil.copy(path, settings.uploads_dir)).as_uri()
        return
    if scheme == "https":
        with web() as putting:
            yield putting
        return
    if not bucket_servers[scheme]:
        pytest.skip("Azurite is not installed: npm install --global azurite")
    with bucket(scheme, bucket_servers[scheme], monkeypatch) as putting:
        yield putting


def test_a_preview_reads_a_fraction_of_its_source(
    put: Put, large: Path, settings: Settings, processes: Processes
) -> None:
    uri = put(large)
    settings = settings.model_copy(update={"source_allow": (LOOPBACK,)})
    storage = storage_for(uri, settings)
    size = storage.stat(uri).size
    assert size == large.stat().st_size
    reader = StillReader(storage, uri, size, Wanted(3), VideoLimits())
    assert len(list(reader.stills())) == 3
    assert 0 < reader.bytes_read < MOST * size

    processes.env["SHOAL_SOURCE_ALLOW"] = LOOPBACK
    client = processes.api()
    processes.worker("tests.browser.pointer:Pointer")
    eventually(processes.idle_workers, "the worker", 120)
    found = client.previews.make(uri, ["person"], frames=3)
    assert found.error is None
    assert [each.time_s for each in found.frames] == pytest.approx([1, 3, 5], abs=0.05)
    assert all(each.objects for each in found.frames)
    assert client.previews.picture(found, 2)[:2] == b"\xff\xd8"
    assert "s3cret" not in found.model_dump_json() + processes.logs()
