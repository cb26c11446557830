"""Open any video, file or pictures, as a stream of the frames that are needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from shoal.errors import ResolutionChanged, SourceNotFound, StartFrameNotFound
from worker.video.decode import VideoFile
from worker.video.frame import Frame, VideoInfo
from worker.video.planes import Decoded, fingerprint, upright
from worker.video.position import Extent, Mark, Position
from worker.video.probe import Limits
from worker.video.sequence import PictureSequence, is_tar


class Reader(Protocol):
    """What a video file and a picture sequence have in common."""

    info: VideoInfo
    decode_errors: int
    truncated: bool

    @property
    def missing_s(self) -> float:
        """Seconds that were announced but could not be read; known once all is read."""
        ...

    def pictures(self) -> Iterator[Decoded]:
        """Yield the pictures from the current place on."""
        ...

    def mark(self) -> Mark:
        """The place after the picture yielded last; before any, that before the first."""
        ...

    def skip_to(self, index: int, on_picture: Callable[[], None]) -> None:
        """Pass by the pictures before this one, as far as there are any."""
        ...

    def resume(
        self, mark: Mark, is_it: Callable[[Decoded], bool], on_picture: Callable[[], None]
    ) -> None:
        """Read on after a place of this run or an earlier one.

        Args:
            is_it: recognizes the picture at the place.
            on_picture: called for each one that is decoded on the way there.

        Raises:
            CheckpointUnusable: there is no such place.
        """
        ...

    def close(self) -> None: ...


class Sampler:
    """Choose frames by time: the one nearest to each tick of a clock with ``fps`` ticks a second.

    A frame is taken up to half a frame's spacing before its tick, so that timestamps rounded to
    milliseconds do not lose it.
    """

    def __init__(self, fps: float, source_fps: float) -> None:
        """``fps`` of 0 or less takes every frame."""
        self._fps = fps
        self._early = min(0.25, 0.5 * fps / source_fps) if source_fps else 0.0  # in ticks
        self.last_tick = -1

    def take(self, time_s: float) -> bool:
        if self._fps <= 0:
            return True
        tick = int(time_s * self._fps + self._early + 1e-6)
        taken = tick > self.last_tick
        self.last_tick = max(tick, self.last_tick)
        return taken


class Source:
    """A video that is being read. A context manager.

    Attributes:
        info: what is known of it before it is read.
        frames_read: pictures decoded so far, also those that nobody needed.
        last_time_s: seconds from the first of them to the latest.
    """

    def __init__(
        self,
        reader: Reader,
        limits: Limits,
        sample_fps: float,
        max_frames: int,
        start_frame: int | None = None,
        also: Collection[int] = (),
    ) -> None:
        self.info = reader.info
        self.frames_read = 0
        self.last_time_s = 0.0
        self._index = -1  # of the latest
        self._reader = reader
        self._limits = limits
        self._written = Sampler(sample_fps, self.info.fps)
        self._tracked_tick = -1
        self._count = 0  # frames chosen to be written
        self._max_frames = max_frames
        self._start_frame = start_frame
        self._also = also

    @property
    def extent(self) -> Extent:
        """How far it was read, and what was amiss."""
        reader = self._reader
        return Extent(
            self.frames_read,
            self.last_time_s,
            reader.missing_s,
            reader.truncated,
            reader.decode_errors,
        )

    def skip_to_start(self, on_picture: Callable[[], None] = lambda: None) -> None:
        """Have ``frames`` begin with ``start_frame``.

        Frames before it are decoded to count them, for their number is known in no other way;
        pictures of a sequence are not.

        Args:
            on_picture: called for each picture that is decoded on the way there.
        """

        def passed_by() -> None:
            self.frames_read += 1
            on_picture()

        self._reader.skip_to(self._start_frame or 0, passed_by)

    def frames(self, tracking_fps: float = 0.0) -> Generator[Frame, None, None]:
        """Yield the frames that are written or tracked, in order: from the current place on.

        Written are the frames nearest to each 1/``sample_fps`` seconds, or all, and
        ``start_frame``; they are tracked as well. Reading ends after ``max_frames`` written ones.

        Args:
            tracking_fps: frames per second that tracking needs besides; 0 for none.

        Raises:
            ResolutionChanged, TruncatedVideo, UnsupportedFrameRate, VideoTooLarge: as soon as
            they show.
            StartFrameNotFound: the video ends before it.
        """
        tracked = Sampler(tracking_fps, self.info.fps) if tracking_fps > 0 else None
        if tracked:
            tracked.last_tick = self._tracked_tick
        if self._count == self._max_frames > 0:
            return
        for decoded in self._reader.pictures():
            self.frames_read += 1
            self.last_time_s = decoded.time_s
            self._index = decoded.index
            self._check_size(decoded)
            wanted = self._written.take(decoded.time_s) or decoded.index == self._start_frame
            needed = tracked.take(decoded.time_s) if tracked else False
            needed = needed or decoded.index in self._also
            self._count += wanted
            self._tracked_tick = tracked.last_tick if tracked else -1
            if not (wanted or needed):
                continue
            picture = upright(decoded.stored, decoded.orientation)
            yield Frame(decoded.index, decoded.time_s, picture, wanted)
            if self._count == self._max_frames > 0:
                return
        if self._start_frame is not None and self._index < self._start_frame:
            raise StartFrameNotFound(
                f"tracking was to start at frame {self._start_frame}, "
                f"the last one is {self._reader.mark().index}"
            )

    def position(self) -> Position:
        """The place after the frame that ``frames`` has yielded last, before any the beginning.

        For the thread that reads.
        """
        return Position(
            mark=self._reader.mark(),
            time_s=self.last_time_s,
            frames_read=self.frames_read,
            written=self._count,
            written_tick=self._written.last_tick,
            tracked_tick=self._tracked_tick,
        )

    def resume(
        self,
        position: Position,
        picture: int,
        on_picture: Callable[[], None] = lambda: None,
    ) -> None:
        """Have ``frames`` go on after a position of this run or an earlier one over the video.

        Args:
            picture: fingerprint of the frame there.
            on_picture: called for each picture that is decoded on the way there.

        Raises:
            CheckpointUnusable: the video has no such place.
        """

        def is_it(decoded: Decoded) -> bool:
            return fingerprint(upright(decoded.stored, decoded.orientation)) == picture

        self._reader.resume(position.mark, is_it, on_picture)
        self.frames_read = position.frames_read
        self.last_time_s = position.time_s
        self._index = position.mark.index
        self._count = position.written
        self._written.last_tick = position.written_tick
        self._tracked_tick = position.tracked_tick

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_size(self, decoded: Decoded) -> None:
        size = decoded.orientation.size(decoded.stored)
        expected = self.info.width, self.info.height
        if size != expected:
            self._limits.check_size(*size)
            raise ResolutionChanged(
                f"frame {decoded.index} has {size[0]}×{size[1]} pixels, "
                f"those before it {expected[0]}×{expected[1]}"
            )


def open_source(
    path: Path,
    *,
    sample_fps: float = 1.0,
    max_frames: int = 0,
    sequence_fps: float = 1.0,
    limits: Limits | None = None,
    allow_truncated: bool = False,
    start_frame: int | None = None,
    also: Collection[int] = (),
) -> Source:
    """Open a local video file, or a folder or plain tar of JPEG or PNG pictures.

    Args:
        path: what to read; never a URL.
        sample_fps: frames per second of video to write; 0 or less for every frame.
        max_frames: stop after this many written frames; 0 for no limit.
        sequence_fps: the rate of a folder or tar of pictures.
        limits: what the video may be at most.
        allow_truncated: read what there is of a video that was cut off; ``Source.extent``
            tells afterwards how much is missing.
        start_frame: number of a frame that is written in any case.
        also: numbers of frames that are tracked in any case.

    Raises:
        SourceNotFound, NotAVideo, AudioOnly, NoFrames, TruncatedVideo, UnsupportedFrameRate,
        VideoTooLarge: as far as that shows at the start.
    """
    limits = limits or Limits()
    reader: Reader
    try:
        if path.is_dir() or is_tar(path):
            reader = PictureSequence(
                path, limits, fps=sequence_fps, allow_truncated=allow_truncated
            )
        else:
            reader = VideoFile(path, limits, allow_truncated=allow_truncated)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise SourceNotFound(f"{path.name} cannot be opened: {error.strerror}") from error
    return Source(reader, limits, sample_fps, max_frames, start_frame, also)
