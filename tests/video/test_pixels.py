"""Pixels that are not square: every video that is made says so, as its source does."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from shoal.errors import Stopped
from shoal.results.layout import result_name
from tests.attempts import Job, Line
from tests.video.authored import Square, encode, quarters

ASPECT = Fraction(16, 11)  # PAL, 16:9
OUTPUTS = [
    "overlay",
    {"kind": "redact", "style": "solid", "strict": False},
]


def write(path: Path, turned: bool) -> None:
    def setup(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = ASPECT
        if turned:
            stream.set_display_matrix([0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30])

    picture = av.VideoFrame.from_ndarray(quarters(96, 64), format="rgb24")
    encode(path, [picture.reformat(format="yuv420p")] * 12, setup=setup)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("stop_at", [None, 5])
def test_every_video_keeps_the_shape_of_its_pixels(
    tmp_path: Path, turned: bool, stop_at: int | None
) -> None:
    write(tmp_path / "a.mp4", turned)
    job = Job(tmp_path / "a.mp4", tmp_path, Square, outputs=OUTPUTS, prompts=("red",))
    if stop_at:
        with pytest.raises(Stopped):
            job.attempt(Line(stop_at=stop_at))
    job.attempt()
    wanted = 1 / ASPECT if turned else ASPECT
    for kind in ("overlay", "redact"):
        with av.open(str(job.results / result_name(job.spec, kind))) as video:
            assert video.streams.video[0].sample_aspect_ratio == wanted, kind
            size = next(video.decode(video=0)).to_ndarray(format="gray").shape
            assert size == ((96, 64) if turned else (64, 96))


def test_masks_count_pixels_whatever_their_shape(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", turned=False)
    job = Job(tmp_path / "a.mp4", tmp_path, Square, prompts=("red",))
    job.attempt()
    row = job.rows()[0]
    assert [row[f"box_{edge}"] for edge in ("x0", "y0", "x1", "y1")] == [8, 8, 40, 40]
    assert (row["width"], row["height"]) == (96, 64)
    assert np.isclose(job.metadata()["video"]["width"], 96)
