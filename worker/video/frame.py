"""A decoded frame and what is known of its video."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """A video as it will be processed: upright, in source pixels.

    Attributes:
        width, height: pixels, after rotation.
        fps: mean frames per second.
        duration_s: seconds; 0 where unknown before it is read.
        frames: announced number of frames; 0 where unknown. Not to be trusted.
        codec: short name, such as ``h264``; ``jpeg`` for a sequence of pictures.
        rotation: degrees counter-clockwise that were applied to make it upright.
        pixel_aspect: width of a pixel to its height as it is displayed, upright; not 1 in
            anamorphic video. Sizes, masks and boxes count pixels all the same.
    """

    width: int
    height: int
    fps: float
    duration_s: float
    frames: int
    codec: str
    rotation: int = 0
    pixel_aspect: Fraction = Fraction(1)

    @property
    def frame_bytes(self) -> int:
        """What a decoded frame takes in memory, as yuv420p."""
        return self.width * self.height * 3 // 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of the video.

    Attributes:
        index: position in the source in presentation order, from 0, counting every frame.
        time_s: seconds since the first frame.
        picture: upright yuv420p. Shared with the decoder: copy before writing to it.
        wanted: whether it is written to the results, or only tracked through.
    """

    index: int
    time_s: float
    picture: av.VideoFrame
    wanted: bool
