"""The largest block of memory that FFmpeg may ask for in this process."""

from __future__ import annotations

import ctypes
import logging

import av._core

log = logging.getLogger(__name__)

# Packed pictures take up to 8 bytes a pixel (rgba64), with some padding.
PICTURE_BYTES_PER_PIXEL = 9
MIN_BYTES = 256 << 20  # an index of eleven million samples


def max_allocation(max_pixels: int) -> int:
    """Bytes of the largest block that a video of ``max_pixels`` a frame may need."""
    return max(MIN_BYTES, PICTURE_BYTES_PER_PIXEL * max_pixels)


def cap_allocations(max_bytes: int) -> None:
    """Have FFmpeg refuse larger blocks: what asks for one fails, as if memory had run out.

    By ``av_max_alloc`` of the libavutil that PyAV is linked with; PyAV has no name for it. A build
    that hides the function goes without this limit, and the log says so.
    """
    try:
        # A look-up in a library goes through those it depends on.
        set_limit = ctypes.CDLL(av._core.__file__).av_max_alloc
    except (AttributeError, OSError) as error:
        log.warning("FFmpeg's allocations cannot be limited: %s", error)
        return
    set_limit.argtypes, set_limit.restype = [ctypes.c_size_t], None
    set_limit(max_bytes)
