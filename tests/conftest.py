"""What the tests share: a real Valkey, and the settings that point to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import certifi
import pytest
from redis import Redis

from shoal.local.valkey import find_server
from shoal.model.job import JobSpec, Options
from shoal.queue.connection import connect
from shoal.queue.queue import JobQueue, open_queue
from shoal.settings import Settings
from shoal.storage import storage_for
from tests import media, threads
from tests.buckets import amazon, azure, google
from tests.ports import free_port
from tests.running import Processes, started
from tests.web import certificate

TESTS = Path(__file__).parent
SHOAL = [sys.executable, "-c", "from shoal.cli import app; app()"]


# Where single tests take longest: begun first, so that no process of pytest-xdist is left with one
# at the end, while the others have nothing to do.
LONGEST = [
    TESTS / name
    for name in ("browser", "chaos", "deploy", "processes", "sam3", "video/test_timelines.py")
]


@pytest.hookimpl(tryfirst=True)  # -m looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ids = Counter(item.nodeid for item in items)
    if twice := [name for name, times in ids.items() if times > 1]:
        raise pytest.UsageError(f"pytest-xdist would run only one of those named {twice[0]}")
    for item in items:
        if item.path.is_relative_to(TESTS / "unit") and not item.get_closest_marker("slow"):
            item.add_marker("fast")
    items.sort(key=lambda item: not any(map(item.path.is_relative_to, LONGEST)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With SHOAL_NO_SKIP a test that skips fails: where all parts are there, all must run."""
    report = yield
    if report.skipped and os.environ.get("SHOAL_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where nothing may skip: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """HTTP clients trust one certificate: to load all the world's takes each 20 ms of CPU time.

    Those of this process ask certifi, or, like those of processes that tests start, the variable.
    """
    path = str(certificate(tmp_path_factory.mktemp("authority"), "localhost")[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certifi, "where", lambda: path)
        patch.setenv("SSL_CERT_FILE", path)
        yield


@pytest.fixture(scope="module", autouse=True)
def no_thread_outlives_its_tests() -> Iterator[None]:
    """A thread of ours that goes on works, waits and draws random numbers beside other tests."""
    before = set(threading.enumerate())
    yield
    left = threads.wait_for_ours(before, timeout_s=20)
    assert not left, f"threads outlive their tests: {left}"


@pytest.fixture(scope="module", autouse=True)
def no_test_leaves_a_real_time_priority() -> Iterator[None]:
    """With one, what the tests after it start would leave no CPU to those beside them."""
    yield
    if hasattr(os, "sched_getscheduler"):  # not on macOS
        assert os.sched_getscheduler(0) == os.SCHED_OTHER, "real-time priority"


@pytest.fixture(scope="session")
def sample_clip() -> Path:
    """The clip of the demo: a street, 640 by 272 pixels, 250 frames, 25 a second."""
    path = Path(os.environ.get("SHOAL_SAMPLE_CLIP", "demo/bikes.mp4"))
    if not path.is_file():
        pytest.skip(f"no sample clip at {path}: 'make dev' fetches it")
    return path.resolve()


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey server of the test session's own."""
    folder = tmp_path_factory.mktemp("valkey")
    port = free_port()
    command = [str(find_server()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        url = f"redis://127.0.0.1:{port}/0"
        connect(Settings(redis_url=url), attempts_s=60).close()
        yield url
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def bucket_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, str]]]:
    """Of each kind of bucket a server, and the environment that leads to it."""
    folder = tmp_path_factory.mktemp("buckets")
    with google(folder) as gs_env, amazon(folder) as s3_env, azure(folder) as az_env:
        yield {"gs": gs_env, "s3": s3_env, "az": az_env}


@pytest.fixture
def settings(valkey_url: str, tmp_path: Path) -> Settings:
    """Settings of an empty Shoal, with leases short enough for a test."""
    return Settings(
        redis_url=valkey_url,
        data_dir=tmp_path / "data",
        work_dir=tmp_path / "work",
        beat_s=0.5,
        lease_s=3,
        grace_s=5,
        retry_pauses_s=(),
        api_port=free_port(),
    )


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    connection = connect(settings)
    connection.flushall()
    yield connection
    connection.close()


@pytest.fixture
def processes(settings: Settings, queue: JobQueue, tmp_path: Path) -> Iterator[Processes]:
    """Starts APIs and workers; ends them after the test."""
    with started(settings, queue, tmp_path / "logs") as running:
        yield running


SubmitClip = Callable[..., str]


@pytest.fixture
def submit_clip(queue: JobQueue, settings: Settings) -> SubmitClip:
    """Queue a job for a generated clip of 100 frames in 4 s; returns its id."""

    def submit(
        prompts: tuple[str, ...] = ("person",),
        options: Options | None = None,
        path: Path | None = None,
    ) -> str:
        clip = path or settings.data_dir / "clip.mp4"
        if not clip.exists():
            clip.parent.mkdir(parents=True, exist_ok=True)
            media.write_video(clip, frames=100, fps=25)
        info = storage_for(clip.as_uri(), settings).stat(clip.as_uri())
        spec = JobSpec(
            uri=info.uri,
            version=info.version,
            size=info.size,
            prompts=prompts,
            options=options or Options(sample_fps=0),
            results=f"{settings.results_root}/{clip.stem}",
        )
        return queue.submit(spec)[0].id

    return submit


@pytest.fixture
def queue(settings: Settings, redis: Redis) -> JobQueue:
    return open_queue(settings, redis)
