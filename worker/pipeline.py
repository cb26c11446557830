"""One video through decoder, predictor and sinks, as a stream.

The source is decoded in a thread of its own, the predictor runs in the calling thread, each sink
in another. Bounded channels join them: the stages overlap, and nothing grows with the video.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from shoal.errors import DiskFull, InternalError, Stopped
from shoal.storage.files import FULL
from worker.channel import Aborted, Channel
from worker.predictors.base import FrameResult, Predictor, Session
from worker.sinks.base import Sink
from worker.video.frame import Frame
from worker.video.source import Source


@dataclass(slots=True)
class Summary:
    """What a run did. Objects are counted on written frames.

    Attributes:
        frames_read: decoded, needed or not.
        frames_tracked: seen by the predictor.
        frames_written: seen by the sinks.
        detections: objects summed over written frames: the rows of the mask table.
        objects_per_prompt: distinct object ids of each prompt, in the job's order.
        first_time_s, last_time_s: of the written frames, in seconds since the source's first.
        busy_s: seconds that each stage worked, waiting left out: 'decode', 'predict' and the
            sinks by name. Stages overlap, so the sum is more than the clock shows.
    """

    frames_read: int = 0
    frames_tracked: int = 0
    frames_written: int = 0
    detections: int = 0
    objects_per_prompt: dict[str, int] = field(default_factory=dict)
    first_time_s: float = 0.0
    last_time_s: float = 0.0
    busy_s: dict[str, float] = field(default_factory=dict)

    @property
    def objects_detected(self) -> int:
        """Distinct objects of all prompts."""
        return sum(self.objects_per_prompt.values())

    @property
    def output_fps(self) -> float:
        """Mean frames per second of what was written; 0 for a single frame."""
        seconds = self.last_time_s - self.first_time_s
        return (self.frames_written - 1) / seconds if seconds > 0 else 0.0


def process(
    source: Source,
    predictor: Predictor,
    prompts: Sequence[str],
    sinks: Sequence[Sink],
    *,
    on_progress: Callable[[int], None] = lambda frames_done: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Track the prompts through the source and write every wanted frame to every sink.

    When it returns, the sinks are closed and their files whole; when it raises, they are aborted
    and their files gone. In both cases the session is closed and no thread is left. The source
    stays open: it belongs to the caller.

    Args:
        on_progress: called with the number of frames handed to the sinks, once for each.
        should_stop: asked before each tracked frame.

    Raises:
        Stopped: ``should_stop`` said so.
        DiskFull: a sink could not write.
        Exception: the first error of any stage, as it is.
    """
    return _Run(source, predictor, prompts, sinks, on_progress).run(should_stop)


class _Run:
    """The state of one ``process`` call."""

    def __init__(
        self,
        source: Source,
        predictor: Predictor,
        prompts: Sequence[str],
        sinks: Sequence[Sink],
        on_progress: Callable[[int], None],
    ) -> None:
        self._source = source
        self._predictor = predictor
        self._prompts = prompts
        self._sinks = sinks
        self._on_progress = on_progress
        self._tracking_fps = predictor.tracking_fps(source.info)
        self._decoded: Channel[Frame] = Channel()
        self._results: list[Channel[tuple[Frame, FrameResult]]] = [Channel() for _ in sinks]
        self._error: BaseException | None = None  # the first one
        self._error_lock = threading.Lock()
        self._pending: deque[Frame] = deque()  # stepped, result not yet there
        self._ids: dict[str, set[int]] = {prompt: set() for prompt in prompts}
        self._frame_bytes = source.info.width * source.info.height * 3 // 2
        self._summary = Summary(busy_s={"decode": 0.0, "predict": 0.0})

    def run(self, should_stop: Callable[[], bool]) -> Summary:
        threads = [threading.Thread(target=self._guard, args=(self._decode,), name="decode")]
        for sink, channel in zip(self._sinks, self._results, strict=True):
            self._summary.busy_s[sink.name] = 0.0
            threads.append(
                threading.Thread(
                    target=self._guard, args=(self._feed, sink, channel), name=sink.name
                )
            )
        for thread in threads:
            thread.start()
        self._guard(self._predict, should_stop)
        for thread in threads:
            thread.join()
        if self._error:
            for sink in self._sinks:
                sink.abort()
            raise self._error
        self._summary.frames_read = self._source.frames_read
        self._summary.objects_per_prompt = {p: len(ids) for p, ids in self._ids.items()}
        return self._summary

    def _guard(self, stage: Callable[..., None], *args: object) -> None:
        """Run a stage; its error, if it is the first, ends all the others."""
        try:
            stage(*args)
        except Aborted:
            pass
        except BaseException as error:
            with self._error_lock:
                self._error = self._error or _as_ours(error)
            self._decoded.abort()
            for channel in self._results:
                channel.abort()

    def _decode(self) -> None:
        frames = self._source.frames(self._tracking_fps)
        with contextlib.closing(frames):
            while True:
                with self._busy("decode"):
                    frame = next(frames, None)
                if frame is None:
                    break
                self._decoded.put(frame, self._frame_bytes)
        self._decoded.close()

    def _predict(self, should_stop: Callable[[], bool]) -> None:
        session = self._predictor.open(self._source.info, self._prompts)
        try:
            self._step_all(session, should_stop)
        finally:
            session.close()
        for channel in self._results:
            channel.close()

    def _step_all(self, session: Session, should_stop: Callable[[], bool]) -> None:
        for frame in self._decoded:
            if should_stop():
                raise Stopped
            self._pending.append(frame)
            self._summary.frames_tracked += 1
            with self._busy("predict"):
                results = session.step([frame])
            self._hand_on(results)
        with self._busy("predict"):
            results = session.finish()
        self._hand_on(results)
        if self._pending:
            raise InternalError(f"the engine owes results from frame {self._pending[0].index} on")

    def _hand_on(self, results: Sequence[FrameResult]) -> None:
        for result in results:
            frame = self._pending.popleft()
            if frame.index != result.index:
                raise InternalError(f"the engine answered {result.index} to frame {frame.index}")
            if not frame.wanted:
                continue
            self._count(frame, result)
            size = self._frame_bytes + sum(each.mask.bits.nbytes for each in result.objects)
            for channel in self._results:
                channel.put((frame, result), size)
            self._on_progress(self._summary.frames_written)

    def _count(self, frame: Frame, result: FrameResult) -> None:
        summary = self._summary
        if summary.frames_written == 0:
            summary.first_time_s = frame.time_s
        summary.last_time_s = frame.time_s
        summary.frames_written += 1
        summary.detections += len(result.objects)
        for item in result.objects:
            self._ids[item.prompt].add(item.object_id)

    def _feed(self, sink: Sink, channel: Channel[tuple[Frame, FrameResult]]) -> None:
        for frame, result in channel:
            with self._busy(sink.name):
                sink.write(frame, result)
        with self._busy(sink.name):
            sink.close()

    @contextlib.contextmanager
    def _busy(self, stage: str) -> Iterator[None]:
        """Add the time within to the stage's; each stage is timed by its own thread only."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._summary.busy_s[stage] += time.perf_counter() - start


def _as_ours(error: BaseException) -> BaseException:
    if isinstance(error, OSError) and error.errno in FULL:
        full = DiskFull("the disk of the work directory is full")
        full.__cause__ = error
        return full
    return error
