"""The clip that benchmarks run on: any video scaled to one size, cut or repeated to length.

``python -m benchmarks.clip SAMPLE PATH FRAMES [WIDTH HEIGHT [RATE]]`` writes it, by default in
720p at 25 frames per second.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice

import av

WIDTH, HEIGHT = 1280, 720
RATE = 25


def write(
    sample: str,
    path: str,
    frames: int,
    width: int = WIDTH,
    height: int = HEIGHT,
    rate: int = RATE,
) -> None:
    """Scale ``sample`` and write ``frames`` of its frames, from its start again at its end."""
    with av.open(path, "w") as target:
        stream = target.add_stream("libx264", rate, {"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, picture in enumerate(islice(_endless(sample), frames)):
            scaled = picture.reformat(width, height, "yuv420p")
            scaled.pts, scaled.time_base = number, Fraction(1, rate)
            scaled.pict_type = 0
            target.mux(stream.encode(scaled))
        target.mux(stream.encode())


def _endless(sample: str) -> Iterator[av.VideoFrame]:
    while True:
        with av.open(sample) as source:
            source.streams.video[0].thread_type = "AUTO"
            yield from source.decode(video=0)


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
