"""A video read from behind, in windows that fit into memory.

Only reading from the start tells which number and time a frame has: timestamps may be missing,
repeat or jump. So the video is read once, forward, to note a place every so many frames (the
survey). Each window is then entered at its place and read forward, and its frames come out in
reverse. They are the very frames of a forward read.

The price is one more decoding of the video for the survey, and for each window that of the frames
between the key frame before it and its beginning.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import islice

from worker.video.frame import Frame, VideoInfo
from worker.video.planes import fingerprint
from worker.video.position import Extent, Position
from worker.video.source import Source

# One window is held at a time, as yuv420p: 82 frames of 1080p, about as many as lie between two
# key frames of a camera. The larger, the fewer frames are decoded in vain.
WINDOW_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Window:
    """Frames that lie next to each other.

    Attributes:
        position, picture: of the frame before them, as ``Source.resume`` takes them.
        first: index of the first of them.
        frames: how many are needed, written or tracked.
    """

    position: Position
    picture: int
    first: int
    frames: int


@dataclass(frozen=True, slots=True)
class Survey:
    """Where the windows of a video lie, from its first frame on, and what reading it showed."""

    windows: tuple[Window, ...]
    extent: Extent


def window_frames(info: VideoInfo) -> int:
    """How many frames make a window."""
    return max(1, WINDOW_BYTES // info.frame_bytes)


def survey(
    source: Source,
    tracking_fps: float,
    start_frame: int | None,
    on_frame: Callable[[], None] = lambda: None,
) -> Survey:
    """Read a source up to ``start_frame``, or to its end, for the windows on the way.

    Args:
        source: freshly opened.
        on_frame: called for each frame that is needed.

    Raises:
        StartFrameNotFound: the video ends before it.
        ResolutionChanged, TruncatedVideo, UnsupportedFrameRate, VideoTooLarge: see ``Source``.
    """
    size = window_frames(source.info)
    windows: list[Window] = []
    position, picture, first, frames = source.position(), 0, 0, 0
    with contextlib.closing(source.frames(tracking_fps)) as needed:
        for frame in needed:
            on_frame()
            if start_frame is not None and frame.index > start_frame:
                break  # the start frame itself could not be decoded
            first = frame.index if frames == 0 else first
            frames += 1
            if frames == size:
                windows.append(Window(position, picture, first, frames))
                position, picture, frames = source.position(), fingerprint(frame.picture), 0
            if frame.index == start_frame:
                break
    if frames:
        windows.append(Window(position, picture, first, frames))
    return Survey(tuple(windows), source.extent)


class Backward:
    """The frames of a survey, the last one first. A ``Feed``.

    Attributes:
        info: see ``Source``.
        extent: of the survey.
    """

    def __init__(
        self,
        source: Source,
        surveyed: Survey,
        *,
        before: int | None = None,
        max_frames: int | None = None,
    ) -> None:
        """
        Args:
            source: of the video that was surveyed; it is read again and again.
            before: go on with the frames before this one.
            max_frames: stop after this many written frames.
        """
        self.info = source.info
        self.extent = surveyed.extent
        self._source = source
        self._windows = surveyed.windows
        self._before = before
        self._max_frames = max_frames
        self._index = 0

    def frames(self, tracking_fps: float = 0.0) -> Generator[Frame, None, None]:
        """Yield the frames that are written or tracked, the last one first.

        Args:
            tracking_fps: as in the survey.
        """
        left = self._max_frames
        for window in reversed(self._windows):
            if left == 0 or (self._before is not None and window.first >= self._before):
                continue
            held = self._read(window, tracking_fps)
            while held and left != 0:
                frame = held.pop()
                self._index = frame.index
                left = left - frame.wanted if left is not None else None
                yield frame

    def position(self) -> int:
        """What to go on before, after the frame that ``frames`` has yielded last."""
        return self._index

    def _read(self, window: Window, tracking_fps: float) -> list[Frame]:
        self._source.resume(window.position, window.picture)
        with contextlib.closing(self._source.frames(tracking_fps)) as frames:
            return [
                frame
                for frame in islice(frames, window.frames)
                if self._before is None or frame.index < self._before
            ]
