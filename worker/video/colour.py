"""What the numbers in a picture mean, and pictures brought to one meaning: 8-bit yuv420p.

This is the one place that decides matrix, range, primaries and transfer of a picture. Every frame
that leaves ``worker.video`` carries the answer in its tags, and whoever reads or writes pixels goes
by these: engines, drawing, crops, cut-outs, redaction, encoders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from worker.video import hdr

FULL, LIMITED = int(ColorRange.JPEG), int(ColorRange.MPEG)
HD_HEIGHT, HD_WIDTH = 720, 1280

# Weights of red and blue in luma by matrix code (ITU-T H.273, table 4).
_BT601, _BT709 = (0.299, 0.114), (0.2126, 0.0722)
WEIGHTS = {
    1: _BT709,
    4: (0.30, 0.11),
    5: _BT601,
    6: _BT601,
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_SWSCALE = {  # what PyAV calls them
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_UNTAGGED = (0, 2, 3)  # reserved, unspecified, reserved


@dataclass(frozen=True, slots=True)
class Colours:
    """What the planes of a picture mean: codes of ITU-T H.273, which FFmpeg's are as well.

    Attributes:
        matrix: how luma and chroma are made of red, green and blue.
        range: ``LIMITED`` (black is 16) or ``FULL`` (black is 0).
        primaries: which red, green and blue.
        transfer: from the signal to light.
    """

    matrix: int = 6
    range: int = LIMITED
    primaries: int = 6
    transfer: int = 6

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (hdr.PQ, hdr.HLG)

    @property
    def is_wide(self) -> bool:
        """Whether a table has to bring it to BT.709: HDR, or the primaries of BT.2020."""
        return self.is_hdr or self.primaries == hdr.BT2020

    @property
    def sdr(self) -> Colours:
        """What its pictures are converted to."""
        return BT709 if self.is_wide else self

    def is_same(self, other: Colours) -> bool:
        """Whether luma and chroma have the same meaning."""
        return (WEIGHTS[self.matrix], self.range) == (WEIGHTS[other.matrix], other.range)


BT601 = Colours()
BT709 = Colours(1, LIMITED, 1, 1)


def colours_of(picture: av.VideoFrame) -> Colours:
    """The colours of a picture as decoded; what it does not say is filled in as players do.

    Untagged is BT.709 from 720 lines or 1280 columns on, else BT.601. Browsers go by the height
    (Chromium's ``media/ffmpeg/ffmpeg_common.cc``, Firefox's ``DefaultColorSpace``), mpv by
    the width as well (``mp_image_params_guess_csp``). RGB has no matrix of its own: it gets the one
    of its size, and limited range.
    """
    is_hd = picture.height >= HD_HEIGHT or picture.width >= HD_WIDTH
    usual = BT709 if is_hd else BT601
    matrix, transfer = int(picture.colorspace), int(picture.color_trc)
    primaries = int(picture.color_primaries)
    if matrix in (9, 10) or transfer in (hdr.PQ, hdr.HLG):  # which go together (ITU-R BT.2100)
        usual = replace(usual, matrix=9, primaries=hdr.BT2020)
    if primaries in _UNTAGGED:
        primaries = usual.primaries
    if _is_rgb(picture) or matrix not in WEIGHTS:
        matrix = usual.matrix
    is_full = picture.color_range == ColorRange.JPEG or picture.format.name.startswith("yuvj")
    return Colours(
        matrix,
        FULL if is_full and not _is_rgb(picture) else LIMITED,
        primaries,
        usual.transfer if transfer in _UNTAGGED else transfer,
    )


def tag(picture: av.VideoFrame, colours: Colours) -> av.VideoFrame:
    """Write on a picture what it is; returns it."""
    picture.colorspace = colours.matrix
    picture.color_range = colours.range
    picture.color_primaries = colours.primaries
    picture.color_trc = colours.transfer
    return picture


class Converter:
    """Brings pictures, each from its own description, to the colours of one video.

    Not for several threads at once: it keeps the tables and scalers it has used.
    """

    def __init__(self, target: Colours) -> None:
        """``target`` is SDR: see ``Colours.sdr``."""
        self._target = target
        self._scaler = VideoReformatter()
        self._mapper: hdr.ToneMapper | None = None

    def convert(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture as 8-bit yuv420p in the target's colours, and tagged so."""
        colours = colours_of(picture)
        if colours.is_wide:
            picture, colours = self._mapped(picture, colours), BT709
        elif _is_grey(picture):
            # swscale takes grey for full range, whatever it says: the numbers stay as they are.
            as_full = {"src_color_range": FULL, "dst_color_range": FULL}
            picture = self._scaler.reformat(picture, format="yuv420p", **as_full)
        elif _is_rgb(picture):
            picture, colours = self._reformat(picture, "yuv420p", self._target), self._target
        return self._as_target(picture, colours)

    def keep_hdr(self, picture: av.VideoFrame, wanted: Colours) -> av.VideoFrame:
        """The picture as 10-bit yuv420p in HDR colours, limited range."""
        colours = colours_of(picture)
        if (colours.transfer, colours.primaries) != (wanted.transfer, wanted.primaries):
            sdr = self.convert(picture).to_ndarray(format="rgb24") / 255
            codes = np.rint(65535 * hdr.from_sdr(sdr, wanted.transfer)).astype(np.uint16)
            picture, colours = av.VideoFrame.from_ndarray(codes, format="rgb48le"), wanted
        kept = replace(wanted, range=LIMITED)
        if picture.format.name != "yuv420p10le" or not colours.is_same(kept):
            described = _described(picture, colours)
            picture = self._reformat(picture, "yuv420p10le", kept, **described)
        return tag(picture, kept)

    def _as_target(self, picture: av.VideoFrame, colours: Colours) -> av.VideoFrame:
        if picture.format.name != "yuv420p" or not colours.is_same(self._target):
            described = _described(picture, colours)
            picture = self._reformat(picture, "yuv420p", self._target, **described)
        return tag(picture, self._target)

    def _reformat(
        self, picture: av.VideoFrame, pixels: str, to: Colours, **described: Any
    ) -> av.VideoFrame:
        """The picture in another pixel format, and by matrix and range in other colours."""
        return self._scaler.reformat(
            picture,
            format=pixels,
            dst_colorspace=_SWSCALE[to.matrix],
            dst_color_range=to.range,
            interpolation=_EXACT,
            **described,
        )

    def _mapped(self, picture: av.VideoFrame, colours: Colours) -> av.VideoFrame:
        kind = colours.transfer, colours.primaries
        if self._mapper is None or self._mapper.kind != kind:
            self._mapper = hdr.ToneMapper(*kind)
        rgb = self._scaler.reformat(
            picture, format=hdr.FORMAT, interpolation=_EXACT, **_described(picture, colours)
        )
        return self._scaler.reformat(
            self._mapper.map(rgb),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=LIMITED,
            interpolation=_EXACT,
        )


def _described(picture: av.VideoFrame, colours: Colours) -> dict[str, Any]:
    """How swscale is told what a picture is."""
    if _is_rgb(picture):
        return {}
    return {"src_colorspace": _SWSCALE[colours.matrix], "src_color_range": colours.range}


def _is_rgb(picture: av.VideoFrame) -> bool:
    return bool(picture.format.is_rgb or picture.format.has_palette)


def _is_grey(picture: av.VideoFrame) -> bool:
    return picture.format.name.startswith(("gray", "ya8", "ya16", "mono"))
