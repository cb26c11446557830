"""The passes of a job over its video: forward, backward, or one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from shoal.model.job import Direction, Options
from worker.pipeline.matching import PassMatcher
from worker.pipeline.run_state import RunState
from worker.pipeline.summary import Summary
from worker.video.feed import Feed
from worker.video.frame import VideoInfo
from worker.video.position import Position
from worker.video.reverse import Backward, survey
from worker.video.source import Source


class Passes:
    """Leads a video through its passes, from wherever an earlier attempt had come to.

    Each pass has a feed and a session of its own, and goes on with the summary of the one before.

    Attributes:
        at: what the current pass goes out from.
    """

    def __init__(
        self, options: Options, tracking_fps: Callable[[VideoInfo], float], at: RunState | None
    ) -> None:
        """
        Args:
            tracking_fps: see ``Predictor.tracking_fps``.
            at: where an earlier attempt had come to.
        """
        self.at = at or RunState(backward=options.direction is Direction.BACKWARD)
        self._options = options
        self._tracking_fps = tracking_fps

    @property
    def frame(self) -> int:
        """Index of the frame that the current pass goes out from."""
        match self.at.position:
            case Position(mark=mark):
                return mark.index
            case int(index):
                return index
        if self._options.start_frame is None and self.at.survey:
            return self.at.survey.extent.frames_read - 1
        return self._options.start_frame or 0

    @property
    def max_frames(self) -> int:
        """How many frames the current pass's source shall choose at most; 0 for no limit.

        A survey chooses all, the feed that goes by it then takes the last ones.
        """
        return 0 if self.at.backward else self._options.max_frames

    @property
    def is_short_way(self) -> bool:
        """Whether the current pass is a whole forward read, which begins without further ado."""
        fresh = self.at.position is None and not self.at.backward
        return fresh and self._options.start_frame is None

    def enter(self, source: Source, on_picture: Callable[[], None]) -> Feed:
        """Have a freshly opened source ready for what is left of the current pass.

        Args:
            on_picture: called for the pictures that are read on the way there.

        Raises:
            CheckpointUnusable: there is no such place in the video.
            StartFrameNotFound, TruncatedVideo and its like: see ``Source``.
        """
        if self.at.backward:
            return self._enter_backward(source, on_picture)
        if self._options.direction is Direction.BOTH and self.at.matcher is None:
            start = self._options.start_frame or 0
            self.at = replace(
                self.at, matcher=PassMatcher(start, source.info.height, source.info.width)
            )
        if isinstance(self.at.position, Position):
            source.resume(self.at.position, self.at.picture, on_picture)
        else:
            source.skip_to_start(on_picture)
        return source

    def turn(self, summary: Summary) -> bool:
        """Go over to the pass after one that has ended with ``summary``; whether there is one."""
        options = self._options
        is_full = summary.frames_written == options.max_frames > 0
        if options.direction is not Direction.BOTH or self.at.backward or is_full:
            return False
        self.at = RunState(summary=summary, backward=True, matcher=self.at.matcher)
        return options.start_frame != 0

    def _enter_backward(self, source: Source, on_picture: Callable[[], None]) -> Feed:
        found = self.at.survey or survey(
            source, self._tracking_fps(source.info), self._options.start_frame, on_picture
        )
        self.at = replace(self.at, survey=found)
        before = self.at.position if isinstance(self.at.position, int) else None
        left = None
        if limit := self._options.max_frames:
            left = limit - self.at.summary.frames_written
            left += before is None and self.at.matcher is not None  # it is read, but not written
        return Backward(source, found, before=before, max_frames=left)


def expected_frames(info: VideoInfo, options: Options, written_fps: float) -> int:
    """How many frames will be written, by what the video announces; 0 where nothing is."""
    announced = info.frames or round(info.duration_s * info.fps)
    start = min(options.start_frame or 0, announced)
    if options.direction is Direction.FORWARD:
        announced -= start
    elif options.direction is Direction.BACKWARD and options.start_frame is not None:
        announced = min(announced, start + 1)
    expected = announced
    if written_fps < info.fps:
        expected = math.ceil(announced / info.fps * written_fps)
    return min(expected, options.max_frames) if options.max_frames and expected else expected
