"""The state of a session at the start of a window, as JSON.

Of the window before it holds what that said of the frames that both share, and no picture: a
session that continues gets these frames again.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from shoal.errors import CheckpointUnusable
from worker.engines.base import FrameResult, Mask, ObjectResult

VERSION = 1


@dataclass(frozen=True, slots=True)
class Border:
    """Where one window ends and the next one begins.

    Attributes:
        window: frames of the next one.
        next_id: the first object id that is free.
        held: what the last window said of the first frames of the next one.
    """

    window: int
    next_id: int
    held: list[FrameResult]


def dump(border: Border) -> bytes:
    """Some kilobytes for each object and frame of the overlap, whatever the length of the video."""
    state = {
        "version": VERSION,
        "window": border.window,
        "next_id": border.next_id,
        "held": [[each.index, [_dump(o) for o in each.objects]] for each in border.held],
    }
    return json.dumps(state, separators=(",", ":")).encode()


def parse(state: bytes) -> Border:
    """Take apart what ``dump`` wrote.

    Raises:
        CheckpointUnusable: another version wrote it, or it is damaged.
    """
    try:
        known = json.loads(state)
        if known["version"] != VERSION:
            raise CheckpointUnusable(f"sam3-native's state has version {known['version']}")
        held = [FrameResult(index, [_load(o) for o in objects]) for index, objects in known["held"]]
        return Border(known["window"], known["next_id"], held)
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise CheckpointUnusable("sam3-native's state cannot be read") from error


def _dump(seen: ObjectResult) -> dict[str, Any]:
    bits = seen.mask.bits
    packed = base64.b64encode(zlib.compress(np.packbits(bits).tobytes())).decode()
    return {
        "id": seen.object_id,
        "prompt": seen.prompt,
        "score": seen.score,
        "box": seen.box,
        "detection_score": seen.detection_score,
        "mask": [seen.mask.x, seen.mask.y, *bits.shape, packed],
    }


def _load(fields: dict[str, Any]) -> ObjectResult:
    x, y, height, width, text = fields["mask"]
    packed = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    bits = np.unpackbits(packed, count=height * width).reshape(height, width)
    return ObjectResult(
        fields["id"],
        fields["prompt"],
        fields["score"],
        tuple(fields["box"]),
        Mask(x, y, bits),
        fields["detection_score"],
    )
