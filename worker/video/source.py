"""Open any video, file or pictures, as a stream of the frames that are needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from shoal.errors import ResolutionChanged, SourceNotFound, StartFrameNotFound
from shoal.model.job import Deinterlace, SampleFps
from worker.video.animation import AnimatedWebp, is_animated_webp
from worker.video.bomb_guard import guard
from worker.video.colour import Converter
from worker.video.decode import VideoFile
from worker.video.deinterlace import Deinterlaced
from worker.video.frame import Frame
from worker.video.planes import Decoded, fingerprint, upright
from worker.video.position import Extent, Position
from worker.video.probe import VideoLimits
from worker.video.reader import Reader
from worker.video.sampling import Sampler, sampling_of
from worker.video.sequence import PictureSequence
from worker.video.tar import is_tar


class Source:
    """A video that is being read. A context manager.

    Attributes:
        info: what is known of it before it is read.
        sampling: which of its frames are written.
        frames_read: pictures decoded so far, also those that nobody needed.
        last_time_s: seconds from the first of them to the latest.
    """

    def __init__(
        self,
        reader: Reader,
        limits: VideoLimits,
        sample_fps: SampleFps,
        max_frames: int,
        start_frame: int | None = None,
        also: Collection[int] = (),
        keep_hdr: bool = False,
        only: Collection[int] | None = None,
    ) -> None:
        keeps_hdr = keep_hdr and reader.info.colours.is_hdr
        self.info = replace(reader.info, keeps_hdr=keeps_hdr)
        self._converter = Converter(self.info.colours.sdr)
        self.frames_read = 0
        self.last_time_s = 0.0
        self._index = -1  # of the latest
        self._reader = reader
        self._limits = limits
        self._until_s = 0.0  # when the latest has been shown
        self._whole = False  # whether all was read
        self.sampling = sampling_of(sample_fps, self.info)
        self._written = Sampler(self.sampling.fps)
        self._tracked_tick = -1
        self._count = 0  # frames chosen to be written
        self._max_frames = max_frames
        self._start_frame = start_frame
        self._also = also
        self._only = only

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
            end_s=self._until_s,
            fps=self._index / self.last_time_s if self.last_time_s else 0.0,
            whole=self._whole,
            left_out=reader.left_out,
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
        tracked = Sampler(tracking_fps) if tracking_fps > 0 else None
        if tracked:
            tracked.last_tick = self._tracked_tick
        if self._count == self._max_frames > 0:
            return
        for decoded in self._reader.pictures():
            self.frames_read += 1
            self.last_time_s = decoded.time_s
            self._index = decoded.index
            self._check_size(decoded)
            nearest_until_s = self._nearest_until_s(decoded)
            wanted = self._written.take(nearest_until_s) or decoded.index == self._start_frame
            if self._only is not None:
                wanted = decoded.index in self._only
            needed = tracked.take(nearest_until_s) if tracked else False
            needed = needed or decoded.index in self._also
            self._count += wanted
            self._tracked_tick = tracked.last_tick if tracked else -1
            if not (wanted or needed):
                continue
            hdr = self._hdr(decoded) if wanted else None
            picture = self._upright(decoded)
            yield Frame(decoded.index, decoded.time_s, picture, wanted, hdr, decoded.name)
            if self._count == self._max_frames > 0:
                return
        self._whole = True
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
            until_s=self._until_s,
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
            return fingerprint(self._upright(decoded)) == picture

        self._reader.resume(position.mark, is_it, on_picture)
        self.frames_read = position.frames_read
        self.last_time_s = position.time_s
        self._until_s = position.until_s
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

    def _upright(self, decoded: Decoded) -> av.VideoFrame:
        return upright(self._converter.convert(decoded.stored), decoded.orientation)

    def _hdr(self, decoded: Decoded) -> av.VideoFrame | None:
        if not self.info.keeps_hdr:
            return None
        kept = self._converter.keep_hdr(decoded.stored, self.info.colours)
        return upright(kept, decoded.orientation)

    def _nearest_until_s(self, decoded: Decoded) -> float:
        """Until when this picture is nearer than the next.

        One that stands at the end counts as repeated as long as that is, at the usual spacing.
        """
        step_s = 1 / self.info.fps if self.info.fps else 0.0
        self._until_s = decoded.time_s + step_s if decoded.until_s is None else decoded.until_s
        if decoded.is_last:
            return max(decoded.time_s, self._until_s - step_s)
        return (decoded.time_s + self._until_s) / 2

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
    sample_fps: SampleFps = 1.0,
    max_frames: int = 0,
    sequence_fps: float = 1.0,
    limits: VideoLimits | None = None,
    allow_truncated: bool = False,
    start_frame: int | None = None,
    also: Collection[int] = (),
    keep_hdr: bool = False,
    deinterlace: Deinterlace = Deinterlace.OFF,
    only: Collection[int] | None = None,
) -> Source:
    """Open a local video file, or a folder or plain tar of pictures.

    Args:
        path: what to read; never a URL.
        sample_fps: frames per second of video to write; 0 or less for every frame; 'auto' goes by
            the length of the video.
        max_frames: stop after this many written frames; 0 for no limit.
        sequence_fps: the rate of a folder or tar of pictures.
        limits: what the video may be at most.
        allow_truncated: read what there is of a video that was cut off; ``Source.extent``
            tells afterwards how much is missing.
        start_frame: number of a frame that is written in any case.
        also: numbers of frames that are tracked in any case.
        keep_hdr: have written frames of an HDR video in HDR as well.
        deinterlace: whether pictures of a file are; folders and tars hold whole ones.
        only: numbers of the frames that are written, whatever ``sample_fps`` says.

    Raises:
        SourceNotFound, NotAVideo, AudioOnly, NoFrames, TruncatedVideo, UnsupportedFrameRate,
        VideoBomb, VideoTooLarge: as far as that shows at the start.
    """
    limits = limits or VideoLimits()
    reader: Reader
    try:
        if path.is_dir() or is_tar(path):
            reader = PictureSequence(
                path, limits, fps=sequence_fps, allow_truncated=allow_truncated
            )
        elif is_animated_webp(path):
            reader = AnimatedWebp(path, limits, allow_truncated=allow_truncated)
        else:
            guard(path, limits)
            reader = VideoFile(path, limits, allow_truncated=allow_truncated)
            if deinterlace is not Deinterlace.OFF:
                reader = Deinterlaced(reader, deinterlace)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise SourceNotFound(f"{path.name} cannot be opened: {error.strerror}") from error
    return Source(reader, limits, sample_fps, max_frames, start_frame, also, keep_hdr, only)
