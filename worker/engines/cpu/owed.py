"""What a session owes results of, and how its state keeps it."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from worker.engines.base import Mask
from worker.engines.cpu.appearance import Box
from worker.engines.cpu.track import BoxTrack, Detection

Masks = dict[tuple[int, Box], Mask]  # by the label and the box of what they outline


@dataclass(slots=True)
class Waiting:
    """A frame of which it is not known yet whether a scene begins with it.

    Attributes:
        masks: of all its detections; empty if the frame is not wanted.
    """

    index: int
    time_s: float
    detections: list[Detection]
    masks: Masks

    def dump(self) -> dict[str, Any]:
        """Everything that ``load`` needs, in JSON's types."""
        masks = [[label, box, _dump_mask(mask)] for (label, box), mask in self.masks.items()]
        return {
            "index": self.index,
            "time_s": self.time_s,
            "detections": [each.dump() for each in self.detections],
            "masks": masks,
        }

    @classmethod
    def load(cls, known: dict[str, Any]) -> Waiting:
        """The frame that ``dump`` described."""
        return cls(
            known["index"],
            known["time_s"],
            [Detection.load(each) for each in known["detections"]],
            {(label, tuple(box)): _load_mask(mask) for label, box, mask in known["masks"]},
        )


@dataclass(slots=True)
class BoxSighting:
    """An object on one frame, while it is not yet certain that it is one."""

    track: BoxTrack
    score: float
    box: Box
    mask: Mask

    def dump(self) -> dict[str, Any]:
        """Everything that ``load`` needs, in JSON's types; of the track, its number."""
        mask = _dump_mask(self.mask)
        return {"track": self.track.number, "score": self.score, "box": self.box, "mask": mask}

    @classmethod
    def load(cls, known: dict[str, Any], tracks: Mapping[int, BoxTrack]) -> BoxSighting:
        """The sighting that ``dump`` described, of one of these tracks by number."""
        track, mask = tracks[known["track"]], _load_mask(known["mask"])
        return cls(track, known["score"], tuple(known["box"]), mask)


def _dump_mask(mask: Mask) -> list[Any]:
    packed = zlib.compress(np.packbits(mask.bits).tobytes())
    return [mask.x, mask.y, *mask.bits.shape, base64.b64encode(packed).decode()]


def _load_mask(known: list[Any]) -> Mask:
    x, y, height, width, text = known
    packed = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return Mask(x, y, np.unpackbits(packed, count=height * width).reshape(height, width))
