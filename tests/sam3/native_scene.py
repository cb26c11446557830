"""Squares on their ways, and Meta's predictor on a stand-in that tracks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tests.sam3 import native_standin as standin, videos
from tests.sam3.native_standin import StandIn
from worker.engines.base import FrameResult, Mask, Query, VisualPrompt
from worker.video.frame import Frame, VideoInfo

WIDTH, HEIGHT, SIDE = 96, 64, 10
INFO = VideoInfo(WIDTH, HEIGHT, fps=25, duration_s=0, frames=0, codec="made up")
FRAMES = 40  # three windows of 16 that overlap by 4
TEXTS = Query(prompts=("red", "green"))

# Where a square is on a frame: x and y of its left upper corner.
Way = Callable[[int], tuple[int, int]]

# By colour. No two squares ever touch, and those of a colour pass each other.
SQUARES: dict[str, list[Way]] = {
    "red": [lambda t: (2 * t, 2), lambda t: (80 - 2 * t, 14)],
    "green": [lambda t: (t, 26), lambda t: (40, 38), lambda t: (84 - 2 * t, 50)],
}


EVERYTHING = Query(
    prompts=("red", "green"),
    objects=(VisualPrompt(label="mine", frame=4, points=((9.0, 7.0, 1),)),),
)


def picture(t: int) -> NDArray[np.uint8]:
    rgb = np.full((HEIGHT, WIDTH, 3), 16, np.uint8)
    for colour, ways in SQUARES.items():
        for way in ways:
            x, y = way(t)
            rgb[y : y + SIDE, x : x + SIDE, standin.COLOURS[colour]] = 235
    return rgb


def make(count: int = FRAMES) -> list[Frame]:
    """The squares on their ways; every other frame of a video."""
    pictures = [av.VideoFrame.from_ndarray(picture(t), format="rgb24") for t in range(count)]
    return [Frame(2 * t, t / 25, each, wanted=True) for t, each in enumerate(pictures)]


def track(native: StandIn, query: Query, count: int = FRAMES) -> list[FrameResult]:
    results = videos.track(standin.predictor(native).open(INFO, query), make(count))
    assert [result.index for result in results] == [2 * t for t in range(count)]
    assert not native.sessions, "all of the package's sessions are closed"
    return results


def named(results: Sequence[FrameResult]) -> dict[int, dict[int, tuple[str, Mask]]]:
    """Prompt and mask by object id, then by frame."""
    found: dict[int, dict[int, tuple[str, Mask]]] = {}
    for t, at_once in enumerate(results):
        for each in at_once.objects:
            found.setdefault(each.object_id, {})[t] = each.prompt, each.mask
    return found


def is_on(track: dict[int, tuple[str, Mask]], prompt: str, way: Way) -> bool:
    """Whether an object is one of the squares, to the pixel."""
    square = np.ones((SIDE, SIDE), np.uint8)
    return all(
        (of, mask.x, mask.y) == (prompt, *way(t)) and np.array_equal(mask.bits, square)
        for t, (of, mask) in track.items()
    )


def shown(results: Sequence[FrameResult]) -> list[tuple[int, list[Any]]]:
    """All of it, to compare."""
    return [
        (
            each.index,
            [
                (o.object_id, o.prompt, o.score, o.box, o.mask.to_full(HEIGHT, WIDTH).tobytes())
                for o in each.objects
            ],
        )
        for each in results
    ]
