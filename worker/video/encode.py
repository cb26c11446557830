"""Write an mp4: H.264 that plays in a browser, or 10-bit HEVC that keeps HDR."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from worker.video.frame import VideoInfo
from worker.video.planes import even_copy

TIME_BASE = Fraction(1, 90_000)  # fine enough for any frame rate: the clock of MPEG-2 (H.222.0)
KEY_FRAME_S = 10  # a browser seeks to these
MAX_KEY_FRAME_GAP = 250  # x264's default
# An mp4 notes when its first picture is shown in units of its own, by default milliseconds: a part
# that begins in the middle of the video would be shifted. The index goes to the front.
MP4_OPTIONS = {"movflags": "+faststart", "movie_timescale": str(TIME_BASE.denominator)}
OPTIONS = {"preset": "veryfast", "crf": "23"}
HEVC_OPTIONS = OPTIONS | {"x265-params": "log-level=error"}


def add_copy(target: OutputContainer, stream: VideoStream) -> VideoStream:
    """A stream for the packets of another one as they are, with its tag: ``hvc1`` stays that."""
    copy = target.add_stream_from_template(stream)
    copy.codec_context.codec_tag = stream.codec_context.codec_tag
    return copy


class Encoder:
    """One mp4: index at the front, with the times of the source's frames.

    H.264 of yuv420p, or for HDR HEVC (Main 10, tagged ``hvc1`` as Apple's players need it) of
    yuv420p10le.

    Odd sizes are padded by one edge pixel, since 4:2:0 needs even ones.
    """

    def __init__(self, path: Path, video: VideoInfo, fps: float, *, hdr: bool = False) -> None:
        """Create the file.

        Args:
            video: of which size the pictures are.
            fps: about how many are written per second of video; steers rate control only.
            hdr: pictures are 10-bit.
        """
        self._path = path
        self._rate = Fraction(fps).limit_denominator(1001) if fps >= 0.01 else Fraction(1)
        self._container: OutputContainer = av.open(
            f"file:{path}", "w", format="mp4", options=MP4_OPTIONS
        )
        self._stream: VideoStream = self._container.add_stream(
            "libx265" if hdr else "libx264",
            rate=self._rate,
            options=HEVC_OPTIONS if hdr else OPTIONS,
            width=video.width + video.width % 2,
            height=video.height + video.height % 2,
            time_base=TIME_BASE,
        )
        if hdr:
            self._stream.pix_fmt = "yuv420p10le"
            self._stream.codec_context.codec_tag = "hvc1"
        gap = min(MAX_KEY_FRAME_GAP, max(1, round(KEY_FRAME_S * self._rate)))
        self._stream.codec_context.gop_size = gap
        self._stream.codec_context.sample_aspect_ratio = video.pixel_aspect
        self._frames = 0

    def write(self, picture: av.VideoFrame, time_s: float) -> None:
        """Encode one picture; the encoder keeps it, so draw on it no more.

        Raises:
            OSError: the disk is full or the file cannot be written.
        """
        if picture.width % 2 or picture.height % 2:
            picture = even_copy(picture)
        if self._frames == 0:
            self._take_colours(picture)
        picture.time_base = TIME_BASE
        picture.pts = round(time_s / TIME_BASE)
        picture.duration = round(1 / (self._rate * TIME_BASE))
        picture.pict_type = 0  # let the encoder choose the key frames
        self._container.mux(self._stream.encode(picture))
        self._frames += 1

    def close(self) -> None:
        """Finish the file, which holds at least one picture."""
        self._container.mux(self._stream.encode())
        self._container.close()

    def abort(self) -> None:
        """Give up and remove the file."""
        self._path.unlink(missing_ok=True)  # first: so nothing is moved to the front in vain
        with contextlib.suppress(OSError, av.FFmpegError):
            self._container.close()

    def _take_colours(self, picture: av.VideoFrame) -> None:
        context = self._stream.codec_context
        context.color_range = picture.color_range
        context.colorspace = picture.colorspace
        context.color_trc = picture.color_trc
        context.color_primaries = picture.color_primaries
