"""Stills are the very pictures that a job sees, by number, time and pixels."""

from __future__ import annotations

import io
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from shoal.errors import NotAVideo, PreviewLimit, ShoalError, VideoBomb, VideoTooLarge
from shoal.storage.files import FileStorage
from tests import media
from tests.running import eventually
from tests.security.test_bombs import BOMBS
from worker.video import still_reader
from worker.video.fork_server import ForkServer
from worker.video.probe import VideoLimits
from worker.video.range_file import BLOCK, RANGE, REQUEST, RangeFile, receive
from worker.video.source import open_source
from worker.video.still_reader import StillReader
from worker.video.stills import Still, StillFile, Wanted

LIMITS = VideoLimits()


def write(path: Path, frames: int, gop: int, *, b_frames: int = 3, open_gop: bool = False) -> None:
    """An x264 video whose pictures tell their numbers."""
    options = {"g": str(gop), "bf": str(b_frames), "preset": "ultrafast"}
    options["x264-params"] = f"open-gop={int(open_gop)}:b-adapt=0:scenecut=0"
    with av.open(str(path), "w") as container:
        stream = media.add_video(container, "libx264", fps=25, options=options)
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(media.picture(number), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def taken(path: Path, wanted: Wanted) -> list[Still]:
    with path.open("rb") as file:
        video = StillFile(file, path.name, LIMITS)
        found = list(video.stills(wanted))
        video.close()
    return found


def check_equal(path: Path, stills: Sequence[Still]) -> None:
    with open_source(path, sample_fps=0) as source:
        frames = {frame.index: frame for frame in source.frames()}
    for still in stills:
        frame = frames[still.number]
        assert still.time_s == pytest.approx(frame.time_s, abs=1e-3)
        assert np.array_equal(still.picture.to_ndarray(), frame.picture.to_ndarray())
        assert media.picture_number(still.picture) == still.number


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stills")


@pytest.mark.parametrize(
    ("suffix", "b_frames", "open_gop"),
    [
        *[(suffix, 3, open_gop) for suffix in ("mp4", "mkv", "ts") for open_gop in (False, True)],
        *[(suffix, 0, False) for suffix in ("mp4", "mov", "ts", "avi", "flv")],
    ],
)
def test_stills_are_the_pictures_of_the_video(
    folder: Path, suffix: str, b_frames: int, open_gop: bool
) -> None:
    path = folder / f"{b_frames}-{open_gop}.{suffix}"
    write(path, 100, 12, b_frames=b_frames, open_gop=open_gop)
    for wanted in (Wanted(6), Wanted(0, times_s=(0.0, 0.5, 1.1, 3.93)), Wanted(0, frames=(0, 51))):
        found = taken(path, wanted)
        assert len(found) == max(len(wanted.times_s), len(wanted.frames), wanted.number)
        assert all(still.is_exact for still in found) == (suffix in ("mp4", "mov"))
        check_equal(path, found)


@given(
    times=st.lists(st.integers(0, 4000).map(lambda ms: ms / 1000), min_size=1, max_size=4),
    gop=st.sampled_from([1, 7, 250]),
)
@hypothesis_settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_time_gives_the_picture_that_is_shown_then(
    folder: Path, times: list[float], gop: int
) -> None:
    path = folder / f"gop-{gop}.mp4"
    if not path.exists():
        write(path, 100, gop)
    found = taken(path, Wanted(0, times_s=times))
    shown = {min(99, int(25 * round(t, 3) + 1e-9)) for t in times}
    assert [still.number for still in found] == sorted(shown)
    check_equal(path, found)


def test_frames_of_a_variable_rate_are_found_by_the_index(folder: Path) -> None:
    path = folder / "variable.mp4"
    times = [0, 0.04, 0.5, 0.54, 0.58, 2.0, 2.04, 3.1, 3.2]
    media.write_variable(path, times)
    found = taken(path, Wanted(0, frames=(2, 5, 7)))
    assert [(still.asked, still.number) for still in found] == [(2, 2), (5, 5), (7, 7)]
    check_equal(path, found)


def test_frames_of_a_file_larger_than_a_buffer_are_found(folder: Path) -> None:
    """What else reads the file must not move FFmpeg's place in it."""
    path = folder / "large.mp4"
    media.write_noise(path, 40)
    assert path.stat().st_size > 100_000
    numbers = range(1, 40, 6)
    for number in numbers:  # as the first seek, too, which may stay within what was read ahead
        assert [still.number for still in taken(path, Wanted(0, frames=(number,)))] == [number]
    assert [still.number for still in taken(path, Wanted(0, frames=numbers))] == list(numbers)


def test_a_rotated_video_is_upright(folder: Path) -> None:
    path = folder / "rotated.mp4"
    media.write_rotated(path, media.MATRICES[90])
    (still,) = taken(path, Wanted(1))
    assert (still.picture.width, still.picture.height) == (media.HEIGHT, media.WIDTH)


# --- in a process of their own --------------------------------------------------------------------


class Counting(FileStorage):
    """Notes which ranges are read, and may lose the connection."""

    def __init__(self, root: Path) -> None:
        super().__init__([root])
        self.ranges: list[tuple[int, int]] = []

    def read(self, uri: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        assert length is not None
        self.ranges.append((start, length))
        return super().read(uri, start, length)


def reader(
    path: Path, wanted: Wanted, limits: VideoLimits = LIMITS
) -> tuple[StillReader, Counting]:
    storage = Counting(path.parent)
    return StillReader(storage, path.as_uri(), path.stat().st_size, wanted, limits), storage


def test_they_are_the_same_in_a_process_of_their_own(folder: Path) -> None:
    path = folder / "gop-12.mp4"
    write(path, 100, 12)
    stills, _ = reader(path, Wanted(4, frames=(7,)))
    expected = taken(path, Wanted(4, frames=(7,)))
    for still, same in zip(stills.stills(), expected, strict=True):
        assert (still.frame.index, still.is_exact) == (same.number, True)
        assert (still.asked, still.fps, still.duration_s) == (same.asked, 25, 4)
        assert np.array_equal(still.frame.picture.to_ndarray(), same.picture.to_ndarray())
        assert still.frame.picture.colorspace == same.picture.colorspace


def test_only_parts_of_a_large_file_are_read(folder: Path) -> None:
    path = folder / "large.avi"
    media.write_video(path, 600, codec="rawvideo")
    size = path.stat().st_size
    assert size > 40 * BLOCK
    stills, storage = reader(path, Wanted(4))
    assert len(list(stills.stills())) == 4
    assert stills.bytes_read == sum(length for _, length in storage.ranges) < size / 3


@pytest.mark.parametrize("name", ["stss.mp4", "elst.mp4"])
def test_a_bomb_ends_the_process_that_opens_it_and_no_other(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(BOMBS[name][0]())
    stills, _ = reader(path, Wanted(2))
    with pytest.raises(ShoalError) as caught:
        list(stills.stills())
    assert caught.value.code in ("video_bomb", "video_too_large", "no_frames", "not_a_video")


def test_what_is_no_video_has_its_own_cause(folder: Path) -> None:
    path = folder / "x.mp4"
    path.write_bytes(b"no video" * 100)
    stills, _ = reader(path, Wanted(1))
    with pytest.raises(ShoalError) as caught:
        list(stills.stills())
    assert caught.value.code == NotAVideo.code
    assert "x.mp4" in str(caught.value)


def test_a_picture_may_be_as_large_as_that_of_a_job(folder: Path) -> None:
    path = folder / "gop-12.mp4"
    write(path, 100, 12)
    stills, _ = reader(path, Wanted(1), VideoLimits(max_pixels=1000))
    with pytest.raises(ShoalError) as caught:
        list(stills.stills())
    assert caught.value.code == VideoTooLarge.code


def test_a_preview_reads_no_more_than_its_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "gop-12.mp4"
    write(path, 100, 12)
    monkeypatch.setattr(still_reader, "MAX_BYTES", 1000)
    stills, _ = reader(path, Wanted(1))
    with pytest.raises(PreviewLimit):
        list(stills.stills())


def test_a_process_that_does_not_answer_is_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "gop-12.mp4"
    write(path, 100, 12)
    monkeypatch.setattr(still_reader, "MAX_S", 0.05)
    stills, _ = reader(path, Wanted(1))
    with lying(monkeypatch, b"", 60), pytest.raises(PreviewLimit, match="takes more than"):
        list(stills.stills())


LIES = {
    "another kind": b"X",
    "a range beyond the end": RANGE + REQUEST.pack(1 << 40, 10),
    "a range of gigabytes": RANGE + REQUEST.pack(0, 1 << 31),
    "a header of gigabytes": b"S\xff\xff\xff\xff",
    "a header of nonsense": b"S\0\0\0\2{}",
    "an error of nonsense": b"F\0\0\0\2[]",
    "nothing": b"",
}


@pytest.mark.parametrize("lie", LIES)
def test_what_the_process_says_is_not_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    """It reads a hostile file, and may be that file's by now."""
    path = folder / "gop-12.mp4"
    write(path, 100, 12)
    stills, storage = reader(path, Wanted(1))
    with lying(monkeypatch, LIES[lie]), pytest.raises(VideoBomb):
        list(stills.stills())
    assert storage.ranges == []


@contextmanager
def lying(monkeypatch: pytest.MonkeyPatch, lie: bytes, silent_s: float = 0) -> Iterator[None]:
    """Processes that say this, nothing else, and end with 1."""
    with closing(ForkServer(("-c", LIAR, lie.hex(), str(silent_s)))) as server:
        monkeypatch.setattr(still_reader, "SERVER", server)
        yield


LIAR = """
import socket, sys, time
_, (line, control), *_ = socket.recv_fds(socket.socket(fileno=int(sys.argv[3])), 1, 2)
with socket.socket(fileno=line) as line:
    line.sendall(bytes.fromhex(sys.argv[1]))
    time.sleep(float(sys.argv[2]))
control = socket.socket(fileno=control)
control.recv(1)
control.sendall(bytes([0, 0, 0, 1]))
"""


def test_processes_are_forked_and_say_how_they_ended(folder: Path) -> None:
    """Importing takes a new process longer than a preview; what one does, another does not see."""
    path = folder / "gop-12.mp4"
    write(path, 100, 12)
    taking = reader(path, Wanted(3))[0].stills()
    next(taking)
    first = only_child()
    taking.close()  # nobody wants the others: the process is ended
    eventually(lambda: not children(pid_of_server()), "its end")
    assert not Path(f"/proc/{first}").exists()
    with still_reader.SERVER.forked() as process:
        process.line.shutdown(socket.SHUT_RDWR)
        assert process.wait() == 1  # it cannot read what is wanted of it
    eventually(lambda: not children(pid_of_server()), "its end")
    with still_reader.SERVER.forked() as process:
        os.kill(only_child(), signal.SIGXCPU)
        assert process.wait() == -signal.SIGXCPU
    server = still_reader.SERVER._server
    assert server
    os.kill(server[0].pid, signal.SIGKILL)
    server[0].wait(60)
    assert len(list(reader(path, Wanted(3))[0].stills())) == 3  # there is another one


def pid_of_server() -> int:
    running = still_reader.SERVER._server
    assert running
    return running[0].pid


def only_child() -> int:
    """The process that takes stills: its watcher's one child, whom the server has started."""

    def found() -> list[int]:
        return [child for watcher in children(pid_of_server()) for child in children(watcher)]

    eventually(lambda: len(found()) == 1, "the process")
    return found()[0]


def children(pid: int) -> list[int]:
    """The processes that one has started, and that have not ended."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@given(
    size=st.integers(1, 5 * BLOCK),
    places=st.lists(st.tuples(st.integers(0, 6 * BLOCK), st.integers(0, 3 * BLOCK)), max_size=8),
)
@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_file_in_ranges_reads_as_the_file_does(size: int, places: list[tuple[int, int]]) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with ours:
            while ours.recv(1):
                start, length = REQUEST.unpack(receive(ours, REQUEST.size))
                assert start + length <= size
                ours.sendall(data[start : start + length])

    server = threading.Thread(target=serve)
    server.start()
    with theirs, io.BufferedReader(RangeFile(theirs, size)) as file:
        for start, length in places:
            file.seek(start)
            assert file.read(length) == data[start : start + length]
        assert file.seek(0, io.SEEK_END) == size
    server.join()
