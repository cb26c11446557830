"""A preview between two frames changes no bit of the video's results."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from worker.engines.base import FrameResult, Query
from worker.engines.cpu.predictor import CpuPredictor
from worker.outputs.rle import encode
from worker.pipeline.destination import WholeDestination
from worker.pipeline.run import process
from worker.preview.turns import Turns
from worker.video.frame import Frame
from worker.video.source import open_source

FRAMES = 40  # the first objects are confirmed by then
QUERY = Query(("person", "bicycle"))


class Kept:
    """A sink that keeps results in a form to compare."""

    name = "kept"

    def __init__(self) -> None:
        self.rows: list[tuple[object, ...]] = []

    def write(self, frame: Frame, result: FrameResult) -> None:
        height, width = frame.picture.height, frame.picture.width
        self.rows += [
            (frame.index, o.object_id, o.prompt, o.score, o.box, encode(o.mask, height, width))
            for o in result.objects
        ]

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


@pytest.fixture(scope="module")
def engine() -> CpuPredictor:
    return CpuPredictor()


def run(engine: CpuPredictor, clip: Path, turns: Turns | None = None) -> list[tuple[object, ...]]:
    sink = Kept()
    with open_source(clip, sample_fps=0, max_frames=FRAMES) as source:
        process(source, engine, QUERY, WholeDestination([sink]), turns=turns)
    return sink.rows


def test_results_of_the_cpu_engine_are_the_same_with_previews(
    engine: CpuPredictor, sample_clip: Path
) -> None:
    alone = run(engine, sample_clip)
    assert alone
    with open_source(sample_clip, sample_fps=1) as source:
        others = [frame for frame in source.frames() if frame.index > FRAMES]
    turns, over, answered = Turns(), threading.Event(), list[FrameResult]()
    other = Query(("bicycle", "person", "backpack"), score_threshold=0.3)

    def keep_asking() -> None:
        while not over.is_set():
            for frame in others:
                with turns.preview():
                    answered.extend(engine.detect([frame], other))

    thread = threading.Thread(target=keep_asking)
    thread.start()
    try:
        disturbed = run(engine, sample_clip, turns)
    finally:
        over.set()
        thread.join()
    assert len(answered) >= 5
    assert disturbed == alone


def test_the_cpu_engine_detects_without_a_session(engine: CpuPredictor, sample_clip: Path) -> None:
    with open_source(sample_clip, sample_fps=1) as source:
        frames = list(source.frames())[:3]
    query = Query(("person", "bicycle"), score_threshold=0.3)
    results = engine.detect(frames, query)
    assert [result.index for result in results] == [frame.index for frame in frames]
    assert results[0].objects
    for result in results:
        for each in result.objects:
            assert each.score >= 0.3
            x0, y0, x1, y1 = each.box
            assert 0 <= x0 < x1 <= 640
            assert 0 <= y0 < y1 <= 272
            assert each.mask.bits.any()
        assert len({each.object_id for each in result.objects}) == len(result.objects)
    again = engine.detect(frames, query)
    for one, two in zip(results, again, strict=True):
        for a, b in zip(one.objects, two.objects, strict=True):
            assert (a.score, a.box) == (b.score, b.box)
            assert np.array_equal(a.mask.bits, b.mask.bits)
    default = engine.start_scores(["person", "bicycle"])
    for each in [
        each for result in engine.detect(frames, Query(("person",))) for each in result.objects
    ]:
        assert each.score >= default["person"]
