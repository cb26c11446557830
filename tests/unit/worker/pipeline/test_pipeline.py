"""A video through decoder, predictor and sinks, and every way that can end."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import pytest

from shoal.errors import DiskFull, InternalError, Stopped, TruncatedVideo
from tests import media
from tests.fakes import Fake, FakeSession
from worker.engines.base import FrameResult, Query
from worker.outputs.base import Sink
from worker.outputs.masks import MasksSink
from worker.outputs.overlay import OverlaySink
from worker.pipeline.channel import MAX_ITEMS, Aborted, Channel
from worker.pipeline.destination import WholeDestination
from worker.pipeline.run import process
from worker.pipeline.summary import Summary
from worker.video.frame import Frame, VideoInfo
from worker.video.source import open_source


class Recorder:
    """A sink that keeps the indices it got."""

    def __init__(self, name: str = "recorder") -> None:
        self.name = name
        self.indices: list[int] = []
        self.state = "open"

    def write(self, frame: Frame, result: FrameResult) -> None:
        assert frame.index == result.index
        self.indices.append(frame.index)

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"


class FailingWrite(Recorder):
    """Raises at its third frame."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("failing")
        self.error = error

    def write(self, frame: Frame, result: FrameResult) -> None:
        super().write(frame, result)
        if len(self.indices) == 3:
            raise self.error


class FailingClose(FailingWrite):
    """Raises when its file is to be finished."""

    def write(self, frame: Frame, result: FrameResult) -> None:
        self.indices.append(frame.index)

    def close(self) -> None:
        raise self.error


class LateSession(FakeSession):
    """Answers some frames late."""

    LAG = 3

    def __init__(self, predictor: Fake, query: Query) -> None:
        super().__init__(predictor, query)
        self.waiting: deque[Frame] = deque()

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        self.waiting.extend(frames)
        late = max(0, len(self.waiting) - self.LAG)
        return [self._one(self.waiting.popleft()) for _ in range(late)]

    def finish(self) -> list[FrameResult]:
        return [self._one(frame) for frame in self.waiting]


class ForgetfulSession(LateSession):
    """Owes results at the end."""

    def finish(self) -> list[FrameResult]:
        return []


class ConfusedSession(FakeSession):
    """Answers for another frame."""

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        return [FrameResult(frame.index + 1) for frame in frames]


class Engine(Fake):
    """A fake with a session and a tracking rate of choice, that may raise at a frame."""

    def __init__(
        self,
        session: type[FakeSession] = FakeSession,
        tracking_fps: float = 0.0,
        before_frame: Callable[[Frame], None] = lambda frame: None,
    ) -> None:
        super().__init__()
        self.session = session
        self.rate = tracking_fps
        self.hook = before_frame

    def tracking_fps(self, video: VideoInfo) -> float:
        return self.rate

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> FakeSession:
        self.sessions_open += 1
        return self.session(self, query)

    def before_frame(self, frame: Frame) -> None:
        self.hook(frame)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """60 frames at 25 frames per second."""
    media.write_video(tmp_path / "clip.mp4", frames=60)
    return tmp_path / "clip.mp4"


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def run(
    clip: Path,
    engine: Fake,
    sinks: Sequence[Sink],
    *,
    prompts: Sequence[str] = ("person",),
    sample_fps: float = 0.0,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int], None] = lambda frames: None,
) -> Summary:
    """Process the clip; however that ends, no session is left open."""
    try:
        with open_source(clip, sample_fps=sample_fps) as source:
            return process(
                source,
                engine,
                Query(tuple(prompts)),
                WholeDestination(sinks),
                should_stop=should_stop,
                on_progress=on_progress,
            )
    finally:
        assert engine.sessions_open == 0


# --- when all goes well --------------------------------------------------------------------------


@pytest.mark.parametrize("session", [FakeSession, LateSession])
def test_every_sink_gets_every_frame_in_order(clip: Path, session: type[FakeSession]) -> None:
    sinks = [Recorder("one"), Recorder("two")]
    progress: list[int] = []
    summary = run(clip, Engine(session), sinks, on_progress=progress.append)
    for sink in sinks:
        assert sink.indices == list(range(60))
        assert sink.state == "closed"
    assert progress == list(range(1, 61))
    assert (summary.extent.frames_read, summary.frames_tracked, summary.frames_written) == (
        60,
        60,
        60,
    )
    assert set(summary.busy_s) == {"decode", "predict", "one", "two"}


def test_frames_that_are_only_tracked_reach_no_sink(clip: Path) -> None:
    sink = Recorder()
    summary = run(clip, Engine(LateSession, tracking_fps=12.5), [sink], sample_fps=2.5)
    assert sink.indices == list(range(0, 60, 10))
    assert (summary.frames_tracked, summary.frames_written) == (30, 6)
    assert (summary.first_time_s, summary.last_time_s) == (0, 2.0)
    assert summary.output_fps == pytest.approx(2.5)


def test_objects_are_counted_per_prompt(clip: Path) -> None:
    summary = run(clip, Engine(), [Recorder()], prompts=("person", "ball"))
    assert summary.objects_per_prompt == {"person": 1, "ball": 1}
    assert (summary.objects_detected, summary.detections) == (2, 120)


def test_a_prompt_that_nothing_answers_has_no_objects(clip: Path) -> None:
    class Blind(FakeSession):
        def _one(self, frame: Frame) -> FrameResult:
            return FrameResult(frame.index)

    summary = run(clip, Engine(Blind), [Recorder()])
    assert (summary.objects_per_prompt, summary.detections) == ({"person": 0}, 0)


# --- when something goes wrong -------------------------------------------------------------------


def test_an_error_of_the_predictor(clip: Path) -> None:
    error = ZeroDivisionError("at frame 7")

    def fail(frame: Frame) -> None:
        if frame.index == 7:
            raise error

    sink = Recorder()
    with pytest.raises(ZeroDivisionError) as caught:
        run(clip, Engine(before_frame=fail), [sink])
    assert caught.value is error
    assert sink.state == "aborted"


def test_an_error_when_the_predictor_opens(clip: Path) -> None:
    class Refusing(Engine):
        def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> FakeSession:
            raise ValueError("no such word")

    sink = Recorder()
    with pytest.raises(ValueError, match="no such word"):
        run(clip, Refusing(), [sink])
    assert sink.state == "open"  # it was not even asked for


def test_an_error_of_the_decoder(tmp_path: Path) -> None:
    media.write_truncated_mkv(tmp_path / "cut.mkv")
    sink = Recorder()
    with pytest.raises(TruncatedVideo):
        run(tmp_path / "cut.mkv", Engine(LateSession), [sink])
    assert sink.state == "aborted"


@pytest.mark.parametrize("kind", [FailingWrite, FailingClose])
def test_an_error_of_a_sink(clip: Path, kind: type[FailingWrite]) -> None:
    error = RuntimeError("the sink's own")
    sinks = [Recorder(), kind(error)]
    with pytest.raises(RuntimeError) as caught:
        run(clip, Engine(), sinks)
    assert caught.value is error
    assert [sink.state for sink in sinks] == ["aborted", "aborted"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("kind", [FailingWrite, FailingClose])
def test_a_full_disk_is_named(clip: Path, kind: type[FailingWrite], code: int) -> None:
    with pytest.raises(DiskFull) as caught:
        run(clip, Engine(), [kind(OSError(code, os.strerror(code)))])
    assert caught.value.transient


@pytest.mark.parametrize("session", [ForgetfulSession, ConfusedSession])
def test_an_engine_that_breaks_its_word(clip: Path, session: type[FakeSession]) -> None:
    sink = Recorder()
    with pytest.raises(InternalError, match="the engine"):
        run(clip, Engine(session), [sink])
    assert sink.state != "closed"


def test_a_stop_in_the_middle(clip: Path) -> None:
    sink = Recorder()
    with pytest.raises(Stopped):
        run(clip, Engine(), [sink], should_stop=lambda: len(sink.indices) >= 10)
    assert sink.state == "aborted"
    assert 10 <= len(sink.indices) < 60


def test_a_stage_that_waits_for_room_ends_with_the_others(clip: Path) -> None:
    """The decoder is far ahead and waits when the sink fails."""
    ahead = threading.Event()

    class Late(FailingWrite):
        def write(self, frame: Frame, result: FrameResult) -> None:
            ahead.wait(30)
            raise self.error

    def tell(frame: Frame) -> None:
        if frame.index == MAX_ITEMS:
            ahead.set()

    with pytest.raises(RuntimeError, match="late"):
        run(clip, Engine(before_frame=tell), [Late(RuntimeError("late"))])


# --- real files ----------------------------------------------------------------------------------


def real_sinks(folder: Path, video: VideoInfo) -> list[Sink]:
    return [
        OverlaySink(folder / "overlay.mp4", video, ["person"], 25),
        MasksSink(folder / "masks.parquet", video),
    ]


def test_files_are_whole_after_a_run(clip: Path, tmp_path: Path) -> None:
    with open_source(clip, sample_fps=0) as source:
        process(
            source,
            Engine(),
            Query(("person",)),
            WholeDestination(real_sinks(tmp_path, source.info)),
        )
    with av.open(str(tmp_path / "overlay.mp4")) as overlay:
        assert sum(1 for _ in overlay.decode(video=0)) == 60
    assert (tmp_path / "masks.parquet").read_bytes()[-4:] == b"PAR1"


def test_files_are_gone_after_an_error(clip: Path, tmp_path: Path) -> None:
    def fail(frame: Frame) -> None:
        if frame.index == 50:
            raise ZeroDivisionError

    with open_source(clip, sample_fps=0) as source:
        output = WholeDestination(real_sinks(tmp_path, source.info))
        with pytest.raises(ZeroDivisionError):
            process(source, Engine(before_frame=fail), Query(("person",)), output)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_file_that_cannot_grow_is_a_full_disk(clip: Path, tmp_path: Path) -> None:
    """The overlay is written for real, up to a limit of this process."""
    with open_source(clip, sample_fps=0) as source:
        sinks = real_sinks(tmp_path, source.info)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            with pytest.raises(DiskFull):
                process(source, Engine(), Query(("person",)), WholeDestination(sinks))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


# --- channels ------------------------------------------------------------------------------------


def test_a_channel_is_bounded_by_items() -> None:
    channel: Channel[int] = Channel()
    put: list[int] = []

    def send() -> None:
        for number in range(3 * MAX_ITEMS):
            channel.put(number, 1)
            put.append(number)
        channel.close()

    sender = threading.Thread(target=send)
    sender.start()
    sender.join(0.1)  # time enough to put too many
    assert len(put) <= MAX_ITEMS
    received = list(channel)
    sender.join()
    assert received == list(range(3 * MAX_ITEMS))


def test_a_channel_is_bounded_by_bytes_but_lets_the_stages_overlap() -> None:
    channel: Channel[str] = Channel()
    huge = 1 << 30
    channel.put("first", huge)
    channel.put("second", huge)
    third = threading.Thread(target=channel.put, args=("third", huge))
    third.start()
    third.join(0.1)
    assert third.is_alive()
    received = iter(channel)
    assert next(received) == "first"
    third.join()
    assert [next(received), next(received)] == ["second", "third"]


def test_an_aborted_channel_wakes_both_sides() -> None:
    channel: Channel[int] = Channel()
    outcomes: list[str] = []

    def receive() -> None:
        try:
            list(channel)
        except Aborted:
            outcomes.append("receiver")

    receiver = threading.Thread(target=receive)
    receiver.start()
    channel.abort()
    receiver.join()
    with pytest.raises(Aborted):
        channel.put(1, 1)
    assert outcomes == ["receiver"]
