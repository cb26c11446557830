"""A decoded frame and what is known of its video."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av

from worker.video.colour import BT601, Colours


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
        colours: of the source's first picture; frames have its ``sdr``.
        keeps_hdr: frames are there in HDR as well.
        start_s: time of the first picture as the file's own stamps have it.
    """

    width: int
    height: int
    fps: float
    duration_s: float
    frames: int
    codec: str
    rotation: int = 0
    pixel_aspect: Fraction = Fraction(1)
    colours: Colours = BT601
    keeps_hdr: bool = False
    start_s: float = 0.0

    @property
    def frame_bytes(self) -> int:
        """What a decoded frame takes in memory, as yuv420p; in 10 bits it is twice that."""
        return self.width * self.height * 3 // 2 * (3 if self.keeps_hdr else 1)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of the video.

    Attributes:
        index: position in the source in presentation order, from 0, counting every frame.
        time_s: seconds since the first frame.
        picture: upright 8-bit yuv420p, SDR, tagged as what it is. Shared with the decoder: copy
            before writing to it.
        wanted: whether it is written to the results, or only tracked through.
        hdr: the same as 10-bit yuv420p in HDR, where that is kept and the source has it.
        name: of its file, in a sequence of pictures.
    """

    index: int
    time_s: float
    picture: av.VideoFrame
    wanted: bool
    hdr: av.VideoFrame | None = None
    name: str = ""

    @property
    def bytes(self) -> int:
        """What its pictures take in memory."""
        size = self.picture.width * self.picture.height * 3 // 2
        return size if self.hdr is None else 3 * size
