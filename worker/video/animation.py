"""Animated WebP, which FFmpeg cannot decode: by Pillow, that is by Google's libwebp."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from shoal.errors import CheckpointUnusable, NotAVideo, TruncatedVideo, VideoTooLarge
from worker.video.clock import Clock
from worker.video.colour import colours_of
from worker.video.frame import VideoInfo
from worker.video.planes import Decoded, Orientation
from worker.video.position import Mark
from worker.video.probe import VideoLimits

MAX_BYTES = 1 << 28  # libwebp wants the file in memory
_ANIMATED = 0x02  # flag of the VP8X chunk (RFC 9649, 2.7)


def is_animated_webp(path: Path) -> bool:
    """By the first chunk: RIFF, WEBP, then VP8X with the flag for animation."""
    with path.open("rb") as file:
        head = file.read(21)
    is_extended = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X"
    return is_extended and len(head) == 21 and bool(head[20] & _ANIMATED)


class AnimatedWebp:
    """The pictures of an animated WebP, each shown from its timestamp on.

    A picture may be drawn over the one before, so all are read from the start.

    Attributes:
        info: see ``VideoInfo``.
        decode_errors: none: the first error ends the file.
        missing_s: what an animation announces is pictures, not seconds.
        truncated: whether a picture was announced that cannot be read; refused unless allowed.
    """

    def __init__(self, path: Path, limits: VideoLimits, *, allow_truncated: bool = False) -> None:
        """
        Raises:
            NotAVideo, TruncatedVideo, UnsupportedFrameRate, VideoTooLarge
        """
        self.decode_errors, self.missing_s, self.truncated = 0, 0.0, False
        self.left_out: tuple[str, ...] = ()
        self._path = path
        self._limits = limits
        self._allow_truncated = allow_truncated
        if path.stat().st_size > MAX_BYTES:
            raise VideoTooLarge(f"an animated WebP has at most {MAX_BYTES} bytes here")
        self._open()
        try:
            self.info = self._describe()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        try:
            self._image = Image.open(self._path, formats=["WEBP"])
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise NotAVideo(f"{self._path.name} is not a WebP that can be read") from error
        self._frames: int = getattr(self._image, "n_frames", 1)
        self._next = 0
        self._clock = Clock(0.1, self._limits)

    def pictures(self) -> Iterator[Decoded]:
        """Yield the pictures that are left."""
        while self._next < self._frames:
            read = self._read(self._next)
            if read is None:
                self._stop_short()
                break
            picture, stamp_s, shown_s = read
            self._next += 1
            time_s = self._clock.tick(stamp_s)
            yield Decoded(
                self._next - 1,
                time_s,
                picture,
                Orientation(),
                until_s=time_s + shown_s,
                is_last=self._next == self._frames,
            )
        self._clock.finish()

    def _read(self, number: int) -> tuple[av.VideoFrame, float, float] | None:
        """A picture, its timestamp, and for how many seconds it is shown."""
        try:
            self._image.seek(number)
            rgb = np.asarray(self._image.convert("RGB"))
        except (EOFError, OSError, ValueError):
            return None
        stamp_s = float(self._image.info.get("timestamp", 0)) / 1000
        shown_s = float(self._image.info.get("duration", 0)) / 1000
        return av.VideoFrame.from_ndarray(rgb, format="rgb24"), stamp_s, shown_s

    def _stop_short(self) -> None:
        self.truncated = True
        if not self._allow_truncated:
            raise TruncatedVideo(
                f"{self._path.name} announces {self._frames} pictures, "
                f"those from the {self._next + 1}th on cannot be read"
            )

    def mark(self) -> Mark:
        """The place after the picture yielded last."""
        return Mark(self._next - 1)

    def skip_to(self, index: int, on_picture: Callable[[], None]) -> None:
        """Decode and drop the pictures before this one; see ``Reader.skip_to``."""
        for _ in islice(self.pictures(), max(0, index - self._next)):
            on_picture()

    def resume(
        self, mark: Mark, is_it: Callable[[Decoded], bool], on_picture: Callable[[], None]
    ) -> None:
        """Read on after a place of an earlier run; see ``Reader.resume``."""
        self.close()
        self._open()
        self.skip_to(mark.index + 1, on_picture)
        if self._next <= mark.index:
            raise CheckpointUnusable(f"{self._path.name} ends before picture {mark.index}")

    def close(self) -> None:
        self._image.close()

    def _describe(self) -> VideoInfo:
        """The rate is that of the first two: each duration is known once its picture is decoded."""
        self._limits.check_size(*self._image.size)
        first = self._read(0)
        if first is None:
            raise NotAVideo(f"{self._path.name} holds no picture that can be read")
        second = self._read(1) if self._frames > 1 else None
        step_s = second[1] - first[1] if second else 0.0
        width, height = self._image.size
        colours = colours_of(first[0])
        self.close()
        self._open()
        return VideoInfo(
            width=width,
            height=height,
            fps=1 / step_s if step_s > 0 else 10.0,
            duration_s=self._frames * (step_s or 0.1),
            frames=self._frames,
            codec="webp",
            colours=colours,
        )
