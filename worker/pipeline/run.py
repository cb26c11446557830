"""One pass over a video through decoder, predictor and sinks, as a stream.

The source is decoded in a thread of its own, the predictor runs in the calling thread, each sink
in another. Bounded channels join them: the stages overlap, and nothing grows with the video.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from shoal.errors import DiskFull, FrameNotFound, InternalError, Stopped, UnsupportedByEngine
from shoal.storage.files import FULL
from worker.engines.base import (
    ExemplarReader,
    FrameResult,
    LongStep,
    Predictor,
    Query,
    Session,
    tracking_fps,
)
from worker.outputs.writers import Writers
from worker.pipeline.channel import Aborted, Channel
from worker.pipeline.destination import Destination
from worker.pipeline.run_state import RunState
from worker.pipeline.summary import Summary
from worker.preview.turns import Turns
from worker.video.feed import Feed
from worker.video.frame import Frame
from worker.video.planes import fingerprint
from worker.video.position import Position


def process(
    feed: Feed,
    predictor: Predictor,
    query: Query,
    output: Destination,
    *,
    checkpoint: RunState | None = None,
    exemplars: Iterable[Frame] = (),
    on_progress: Callable[[int], None] = lambda frames_done: None,
    on_beat: Callable[[], None] = lambda: None,
    should_stop: Callable[[], bool] = lambda: False,
    turns: Turns | None = None,
) -> Summary:
    """Track what is asked for through the feed and write every wanted frame to the output.

    When it returns, the sinks are closed and their files whole; when it raises, those of the
    current part are aborted and their files gone. In both cases the session is closed and no
    thread is left. What the feed reads stays open: it belongs to the caller.

    Args:
        checkpoint: of which pass this is a run, and where to continue; the feed goes on from
            there. Its matcher learns what the pass after this one must know.
        exemplars: the frames of ``Query.exemplar_frames``, for a session that begins.
        on_progress: called with the number of frames handed to the sinks, once for each.
        on_beat: see ``LongStep``.
        should_stop: asked before each tracked frame. A part that is due by then is closed first.
        turns: who else uses the predictor, between two frames.

    Raises:
        Stopped: ``should_stop`` said so.
        CheckpointUnusable: the predictor cannot continue from there.
        DiskFull: a sink could not write.
        FrameNotFound: a frame with a visual prompt was not among those of the source.
        UnsupportedByEngine: there are exemplars, and the predictor's sessions do not read them.
        Exception: the first error of any stage, as it is.
    """
    start = checkpoint or RunState()
    turns = turns or Turns()
    run = _Run(feed, predictor, query, output, start, on_progress, on_beat, turns)
    return run.run(exemplars, should_stop)


class _Run:
    """The state of one ``process`` call."""

    def __init__(
        self,
        feed: Feed,
        predictor: Predictor,
        query: Query,
        output: Destination,
        start: RunState,
        on_progress: Callable[[int], None],
        on_beat: Callable[[], None],
        turns: Turns,
    ) -> None:
        self._turns = turns
        self._on_beat = on_beat
        self._feed = feed
        self._predictor = predictor
        self._query = query
        # Ids are the video's only once the passes are joined: what to leave out is told then.
        self._engine_query = replace(query, remove_objects=()) if start.matcher else query
        self._output = output
        self._start = start
        self._on_progress = on_progress
        self._tracking_fps = tracking_fps(predictor, query, feed.info)
        self._frame_bytes = feed.info.frame_bytes
        self._decoded: Channel[tuple[Frame, Position | int]] = Channel()
        self._writers: Writers | None = None  # of the current part, once it has a frame
        self._error: BaseException | None = None  # the first one
        self._error_lock = threading.Lock()
        self._pending: deque[tuple[Frame, Position | int]] = deque()  # stepped, no result yet
        self._settled: tuple[Frame, Position | int] | None = None  # the last one with a result
        self._stepped = -1  # index of the last one stepped here
        self._saved: tuple[int, int] | None = None  # last settled, owed, of the last checkpoint
        self._summary = copy.deepcopy(start.summary)
        self._summary.expect(query.labels)

    def run(self, exemplars: Iterable[Frame], should_stop: Callable[[], bool]) -> Summary:
        decoder = threading.Thread(target=self._guard, args=(self._decode,), name="decode")
        decoder.start()
        self._guard(self._predict, exemplars, should_stop)
        decoder.join()
        if self._error:
            if self._writers:
                self._writers.discard()
            raise self._error
        extents = (self._summary.extent, self._feed.extent)
        self._summary.extent = max(extents, key=lambda extent: extent.frames_read)
        return self._summary

    def _guard(self, stage: Callable[..., None], *args: object) -> None:
        """Run a stage; its error, if it is the first, ends all the others."""
        try:
            stage(*args)
        except Aborted:
            pass
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._error_lock:
            self._error = self._error or _as_ours(error)
        self._decoded.abort()
        if writers := self._writers:
            writers.abort()

    def _decode(self) -> None:
        frames = self._feed.frames(self._tracking_fps)
        with contextlib.closing(frames):
            while True:
                with self._summary.busy("decode"):
                    frame = next(frames, None)
                if frame is None:
                    break
                self._decoded.put((frame, self._feed.position()), self._frame_bytes)
        self._decoded.close()

    def _predict(self, exemplars: Iterable[Frame], should_stop: Callable[[], bool]) -> None:
        state = None if self._start.begins else self._start.session
        with self._turns.video():
            session = self._predictor.open(self._feed.info, self._engine_query, state)
            if isinstance(session, LongStep):
                session.on_beat = self._on_beat
            try:
                if state is None and self._query.exemplars:
                    self._read_exemplars(session, exemplars)
                self._step_all(session, should_stop)
            finally:
                session.close()
        self._close_writers()

    def _read_exemplars(self, session: Session, frames: Iterable[Frame]) -> None:
        if not isinstance(session, ExemplarReader):
            raise UnsupportedByEngine(
                f"the engine {self._predictor.name!r} does not support exemplars"
            )
        with self._summary.busy("predict"):
            session.read_exemplars(frames)

    def _step_all(self, session: Session, should_stop: Callable[[], bool]) -> None:
        owed = self._start.owed
        for frame, position in self._decoded:
            stop = should_stop()  # asked first: what is due because of a stop is seen to be due
            if self._output.is_part_due():
                self._close_segment(session)
            if stop:
                raise Stopped
            self._turns.between_frames()
            self._pending.append((frame, position))
            if owed:
                owed -= 1  # it was stepped before
                continue
            try:
                self._step(session, frame)
            except Stopped:  # within the step: what is settled is worth saving
                if self._output.is_part_due():
                    self._close_segment(session)
                raise
        self._check_prompted()
        with self._summary.busy("predict"):
            results = session.finish()
        self._hand_on(results)
        if self._pending:
            owed = self._pending[0][0].index
            raise InternalError(f"the engine returned no results from frame {owed} on")

    def _check_prompted(self) -> None:
        if self._start.matcher and not self._start.backward:
            return  # the frame may come in the pass after this one
        if missed := self._query.frames - self._summary.frames_prompted:
            raise FrameNotFound(
                f"there is a visual prompt on frame {min(missed)}, but the last processed frame "
                f"is {self._stepped}"
            )

    def _step(self, session: Session, frame: Frame) -> None:
        self._stepped = frame.index
        self._summary.frames_tracked += 1
        if frame.index in self._query.frames:
            self._summary.frames_prompted.add(frame.index)
        with self._summary.busy("predict"):
            results = session.step([frame])
        self._hand_on(results)

    def _hand_on(self, results: Sequence[FrameResult]) -> None:
        for result in results:
            self._settled = frame, _ = self._pending.popleft()
            if frame.index != result.index:
                raise InternalError(
                    f"the engine returned frame {result.index} instead of {frame.index}"
                )
            if not frame.wanted:
                continue
            matcher = self._start.matcher
            if matcher is None:
                self._write(frame, result)
            elif not self._start.backward:
                matcher.learn(result)
                self._write(frame, result)
            elif frame.index == matcher.frame:
                matcher.meet(result)  # the forward pass has written it
            else:
                self._write(frame, matcher.translate(result))

    def _write(self, frame: Frame, result: FrameResult) -> None:
        if self._start.matcher:
            result = self._without_removed(result)
        self._summary.count(frame, result)
        if self._writers is None:
            sinks = self._output.open_part(self._start.backward)
            self._writers = Writers(sinks, self._summary, self._fail)
        size = self._frame_bytes + sum(each.mask.bits.nbytes for each in result.objects)
        self._writers.put(frame, result, size)
        self._on_progress(self._summary.frames_written)

    def _without_removed(self, result: FrameResult) -> FrameResult:
        leaves_out = self._query.leaves_out
        shown = [each for each in result.objects if not leaves_out(each.object_id, result.index)]
        return replace(result, objects=shown)

    def _close_segment(self, session: Session) -> None:
        """Have the files written so far, and the way on from here, taken in."""
        if self._settled is None:
            return
        frame, position = self._settled
        owed = 0 if self._predictor.steps_again else len(self._pending)
        if (frame.index, owed) == self._saved:
            return  # nothing is gained
        self._close_writers()
        self._output.close_part(
            replace(
                self._start,
                fresh=False,
                position=position,
                picture=fingerprint(frame.picture),
                owed=owed,
                stepped=self._stepped,
                summary=self._summary,
                session=session.state(),
            )
        )
        self._saved = frame.index, owed

    def _close_writers(self) -> None:
        if self._writers:
            self._writers.close()
            self._writers = None


def _as_ours(error: BaseException) -> BaseException:
    if isinstance(error, OSError) and error.errno in FULL:
        full = DiskFull("the disk of the work directory is full")
        full.__cause__ = error
        return full
    return error
