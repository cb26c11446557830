"""Visual prompts on their way through the pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.errors import FrameNotFound
from tests import media
from tests.unit.worker.pipeline.test_pipeline import Engine, Recorder
from worker.engines.base import Query, VisualPrompt
from worker.pipeline.destination import WholeDestination
from worker.pipeline.run import process
from worker.video.source import open_source


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """60 frames at 25 frames per second."""
    media.write_video(tmp_path / "clip.mp4", frames=60)
    return tmp_path / "clip.mp4"


def pointing(*frames: int) -> Query:
    objects = [VisualPrompt(label="cup", frame=n, points=((1, 2, 1),)) for n in frames]
    return Query(("person",), tuple(objects))


def test_frames_with_visual_prompts_are_tracked_whatever_is_written(clip: Path) -> None:
    stepped: list[int] = []
    engine, sink = Engine(before_frame=lambda f: stepped.append(f.index)), Recorder()
    query = pointing(7, 30, 59)
    with open_source(clip, sample_fps=2.5, also=query.frames) as source:
        summary = process(source, engine, query, WholeDestination([sink]))
    assert stepped == sorted({*range(0, 60, 10), 7, 30, 59})
    assert sink.indices == list(range(0, 60, 10))
    assert summary.objects_per_prompt == {"person": 1, "cup": 1}


def test_a_visual_prompt_on_a_frame_that_does_not_come_is_named(clip: Path) -> None:
    sink, query = Recorder(), pointing(7, 60, 99)
    with (
        open_source(clip, sample_fps=2.5, also=query.frames) as source,
        pytest.raises(FrameNotFound, match="frame 60, but the last processed frame is 50"),
    ):
        process(source, Engine(), query, WholeDestination([sink]))
    assert sink.state == "aborted"
