"""What a preview shows: pictures as JPEG, masks at their size."""

from __future__ import annotations

from collections.abc import Sequence

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from shoal.colours import colour_of
from shoal.model.outputs import Overlay
from shoal.model.preview import MAX_MASK_CHARS, MAX_WIDTH, PreviewMask, PreviewObject
from shoal.model.prompts import is_pointed
from worker.engines.base import Mask, ObjectResult
from worker.outputs.labels import Style
from worker.outputs.overlay import draw
from worker.outputs.rle import encode
from worker.video.planes import even_copy

Bgr = NDArray[np.uint8]

QUALITIES = (85, 70, 50, 30)
LABELS = Overlay(kind="overlay", labels=False)
MAX_JPEG_BYTES = 500_000  # a message to the parent has at most 1 MiB, and base64 adds a third


def jpeg(picture: av.VideoFrame, objects: Sequence[ObjectResult], labels: Sequence[str]) -> bytes:
    """A picture at most ``MAX_WIDTH`` wide, with objects drawn on it if there are any."""
    width, height = picture.width, picture.height
    if objects:
        picture = even_copy(picture)
        colours = {label: colour_of(position) for position, label in enumerate(labels)}
        draw(picture, objects, colours, Style.of(height), LABELS)
    bgr = np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)[:height, :width]
    bgr = np.asarray(cv2.resize(bgr, shown_size(width, height), interpolation=cv2.INTER_AREA))
    for quality in QUALITIES:
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if data.size <= MAX_JPEG_BYTES:
            break
    return data.tobytes()


def shown_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the picture of a frame."""
    scale = min(1.0, MAX_WIDTH / width, MAX_WIDTH / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def described(found: ObjectResult, width: int, height: int, name: str = "") -> PreviewObject | None:
    """An object with its mask at the size of the picture; None if nothing is left of it there."""
    size = shown_size(width, height)
    mask = scaled(found.mask, size[0] / width, size[1] / height, size)
    counts = encode(mask, size[1], size[0]) if mask.bits.any() else ""
    if not counts or len(counts) > MAX_MASK_CHARS:
        return None
    x0, y0, x1, y1 = (round(float(each), 2) for each in found.box)
    return PreviewObject(
        prompt=found.prompt,
        object=name,
        pointed=is_pointed(found.object_id),
        score=round(min(1.0, max(0.0, found.score)), 4),
        box=(x0, y0, x1, y1),
        mask=PreviewMask(size=(size[1], size[0]), counts=counts),
    )


def scaled(mask: Mask, across: float, down: float, size: tuple[int, int]) -> Mask:
    """A mask in a smaller picture, ``size`` in width and height; a pixel is inside by majority."""
    h, w = mask.bits.shape
    if across >= 1 or not h or not w:
        return mask
    x0, y0 = int(mask.x * across), int(mask.y * down)
    x1 = min(size[0], int(np.ceil((mask.x + w) * across)))
    y1 = min(size[1], int(np.ceil((mask.y + h) * down)))
    if x1 <= x0 or y1 <= y0:
        return Mask(0, 0, np.zeros((0, 0), np.uint8))
    to_small = np.array([[across, 0, mask.x * across - x0], [0, down, mask.y * down - y0]])
    soft = cv2.warpAffine(mask.bits * np.uint8(255), to_small, (x1 - x0, y1 - y0))
    return Mask(x0, y0, (np.asarray(soft) > 127).astype(np.uint8))
