"""Open a video file without trusting it: which formats, which stream, within which limits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from shoal.errors import (
    AudioOnly,
    NoFrames,
    NotAVideo,
    SourceNotFound,
    TruncatedVideo,
    UnsupportedFrameRate,
    VideoBomb,
    VideoTooLarge,
)
from worker.video import codecs

# FFmpeg's names. Containers only: no playlists, no concat, no picture patterns, none that names
# other files. Sound formats are here so that such a file is called what it is.
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,ivf,gif,apng,"
    "h264,hevc,obu,av1,m4v,mpegvideo,mjpeg,yuv4mpegpipe,dv,mp3,wav,flac,aac"
)
# Streams without a container. What their demuxers announce as the rate is made up.
RAW = frozenset(("h264", "hevc", "obu", "av1", "m4v", "mpegvideo", "mjpeg", "dv"))
WITHOUT_TIMES = frozenset(("h264", "hevc"))  # of those, what gets no timestamps at all
# The last two: an mp4 may name another file as the place of its pictures.
OPTIONS = {
    "format_whitelist": DEMUXERS,
    "protocol_whitelist": "file",
    "enable_drefs": "0",
    "use_absolute_path": "0",
}


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What a video may be at most. Held against what it announces and against what is read."""

    max_pixels: int = 8192 * 4320  # of one frame
    max_duration_s: float = 6 * 3600
    max_fps: float = 480

    @property
    def decoder_options(self) -> dict[str, str]:
        """Which decoders may be opened, and what stops one from making room for a picture that is
        larger than announced.

        Decoders count whole coding blocks, which may be more than the picture: hence twice.
        """
        return {"max_pixels": str(2 * self.max_pixels), **codecs.OPTIONS}

    def check_size(self, width: int, height: int) -> None:
        """Raises VideoTooLarge."""
        if width * height > self.max_pixels:
            raise VideoTooLarge(
                f"its frames have {width}×{height} pixels, the limit is {self.max_pixels} pixels"
            )

    def check_duration(self, seconds: float) -> None:
        """Raises VideoTooLarge."""
        if seconds > self.max_duration_s:
            raise VideoTooLarge(
                f"it is {seconds:.0f} s long, the limit is {self.max_duration_s:.0f} s"
            )

    def check_rate(self, fps: float) -> None:
        """Raises UnsupportedFrameRate."""
        if fps > self.max_fps:
            raise UnsupportedFrameRate(
                f"it has {fps:.0f} frames/s, the limit is {self.max_fps:.0f}"
            )


def open_container(path: Path, limits: VideoLimits) -> tuple[InputContainer, VideoStream]:
    """Open a local file and choose its video stream; raises what ``open_file`` raises."""
    try:
        with path.open("rb") as file:
            # The prefix keeps FFmpeg from taking a name such as "concat:x" for a protocol.
            return _opened(f"file:{path}", file, path.name, limits)
    except OSError as error:
        raise SourceNotFound(f"{path.name} cannot be opened: {error.strerror}") from error


def open_file(file: BinaryIO, name: str, limits: VideoLimits) -> tuple[InputContainer, VideoStream]:
    """Open a video that is read through a seekable file object, and choose its video stream.

    Raises:
        SourceNotFound, NotAVideo, UnsupportedCodec, AudioOnly, NoFrames, VideoBomb: as the names
            say.
        TruncatedVideo: an mp4 whose index was never written; nothing of it can be read.
    """
    return _opened(file, file, name, limits)


def _opened(
    source: str | BinaryIO, file: BinaryIO, name: str, limits: VideoLimits
) -> tuple[InputContainer, VideoStream]:
    try:
        container: InputContainer = av.open(  # type: ignore[assignment]
            source, options=OPTIONS | limits.decoder_options, metadata_errors="replace"
        )
    except (FileNotFoundError, PermissionError) as error:
        raise SourceNotFound(f"{name} cannot be opened: {error.strerror}") from error
    except MemoryError as error:
        raise VideoBomb(f"{name} cannot be opened: it asks for too much memory") from error
    except (av.FFmpegError, ValueError) as error:
        if _is_mp4_without_index(file):
            raise TruncatedVideo(
                f"{name} is an mp4 that ends before its index ('moov')",
                hint="Nothing of it can be read: upload it again, or repair it with 'untrunc'.",
            ) from error
        raise NotAVideo(f"{name} is not a video in a format that can be read") from error
    try:
        return container, _video_stream(container, name)
    except BaseException:
        container.close()
        raise


def raw_rate(stream: VideoStream) -> Fraction | None:
    """Frames per second of a raw stream; None of what has a container, which knows."""
    if stream.container.format.name not in RAW:
        return None
    return stream.guessed_rate or stream.average_rate


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition.value & COVER_ART]
    best = container.streams.best("video")
    stream = best if best in streams else next(iter(streams), None)
    if isinstance(stream, VideoStream):
        codecs.check_pictures(stream, name)
        return stream
    if container.streams.audio:
        raise AudioOnly(f"{name} holds sound but no picture")
    if not len(container.streams):
        raise NoFrames(f"{name} is a {container.format.name} file with nothing in it")
    raise NotAVideo(f"{name} holds no video")


COVER_ART = av.stream.Disposition.attached_pic.value | av.stream.Disposition.timed_thumbnails.value


def _is_mp4_without_index(file: BinaryIO) -> bool:
    """Walk the top-level boxes of ISO/IEC 14496-12: an 'ftyp' first, then no whole 'moov'."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(8)[4:] != b"ftyp":
        return False
    position = 0
    for _ in range(1000):
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        position += length
        if length < 8 or position > size:
            return True
        if header[4:8] == b"moov":
            return False
    return False
