"""Open a video file without trusting it: which formats, which stream, within which limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    VideoTooLarge,
)

# FFmpeg's names. Containers only: no playlists, no concat, no picture patterns, none that names
# other files. Sound formats are here so that such a file is called what it is.
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,ivf,gif,mp3,wav,flac,aac"
)
OPTIONS = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a video may be at most. Held against what it announces and against what is read."""

    max_pixels: int = 8192 * 4320  # of one frame
    max_duration_s: float = 6 * 3600
    max_fps: float = 480

    @property
    def decoder_options(self) -> dict[str, str]:
        """What stops a decoder from making room for a picture that is larger than announced.

        Decoders count whole coding blocks, which may be more than the picture: hence twice.
        """
        return {"max_pixels": str(2 * self.max_pixels)}

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


def open_container(path: Path, limits: Limits) -> tuple[InputContainer, VideoStream]:
    """Open a local file and choose its video stream.

    Raises:
        SourceNotFound, NotAVideo, AudioOnly, NoFrames: as the names say.
        TruncatedVideo: an mp4 whose index was never written; nothing of it can be read.
    """
    try:
        # The prefix keeps FFmpeg from taking a name such as "concat:x" for a protocol.
        container = av.open(
            f"file:{path}", options=OPTIONS | limits.decoder_options, metadata_errors="replace"
        )
    except (FileNotFoundError, PermissionError) as error:
        raise SourceNotFound(f"{path.name} cannot be opened: {error.strerror}") from error
    except (av.FFmpegError, ValueError) as error:
        if _is_mp4_without_index(path):
            raise TruncatedVideo(
                f"{path.name} is an mp4 that ends before its index ('moov')",
                hint="Nothing of it can be read: upload it again, or repair it with 'untrunc'.",
            ) from error
        raise NotAVideo(f"{path.name} is not a video in a format that can be read") from error
    try:
        return container, _video_stream(container, path.name)
    except BaseException:
        container.close()
        raise


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition.value & COVER_ART]
    best = container.streams.best("video")
    stream = best if best in streams else next(iter(streams), None)
    if isinstance(stream, VideoStream):
        if stream.codec_context is None:
            raise NotAVideo(f"{name} holds video in a codec that cannot be decoded")
        return stream
    if container.streams.audio:
        raise AudioOnly(f"{name} holds sound but no picture")
    if not len(container.streams):
        raise NoFrames(f"{name} is a {container.format.name} file with nothing in it")
    raise NotAVideo(f"{name} holds no video")


COVER_ART = av.stream.Disposition.attached_pic.value | av.stream.Disposition.timed_thumbnails.value


def _is_mp4_without_index(path: Path) -> bool:
    """Walk the top-level boxes of ISO/IEC 14496-12: an 'ftyp' first, then no whole 'moov'."""
    size = path.stat().st_size
    with path.open("rb") as file:
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
