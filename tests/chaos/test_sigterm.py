"""A SIGTERM that comes at an awkward moment: while a video is taken, fetched or published."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests import media
from tests.chaos.__main__ import straight_run
from tests.chaos.scenario import Scenario, Straight
from tests.chaos.stack import Stack
from tests.chaos.stages import FRAMES

numbers = itertools.count()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("sigterm")
    clip = folder / "clip.mp4"
    media.write_video(clip, frames=FRAMES, fps=25)
    stack = Stack(folder / "stack", clip, lease_s=6, books_s=60)
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def straight(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Straight:
    return straight_run(stack.clip, tmp_path_factory.mktemp("straight") / "run")


@pytest.mark.parametrize("stage", ["dequeue", "download", "publish", "metadata"])
def test_nothing_is_lost_or_done_twice(stack: Stack, straight: Straight, stage: str) -> None:
    scenario = Scenario(stack, next(numbers), "SIGTERM", stage, seed="sigterm")
    outcome = scenario.run(straight)
    assert not outcome.failure
    record = scenario.record()
    assert (record.failures, record.model_deaths) == (0, 0)
