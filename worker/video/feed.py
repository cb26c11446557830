"""What the pipeline reads frames from, whichever way they go."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from worker.video.frame import Frame, VideoInfo
from worker.video.position import Extent, Position


class Feed(Protocol):
    """The frames of one pass over a video: a ``Source`` is one, ``Backward`` another.

    Attributes:
        info: what is known of the video before it is read.
    """

    info: VideoInfo

    @property
    def extent(self) -> Extent:
        """How far the video was read, and what was amiss."""
        ...

    def frames(self, tracking_fps: float = 0.0) -> Generator[Frame, None, None]:
        """Yield the frames that are written or tracked, in the order of tracking."""
        ...

    def position(self) -> Position | int:
        """From where another pass can go on after the frame that was yielded last."""
        ...
