"""The short form of ``python -m tests.chaos --split``: a blow at each kind of stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import media
from tests.chaos.scenario import Straight
from tests.chaos.split import FRAMES, SplitScenario, straight_run
from tests.chaos.stack import Stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    media.write_video(path, frames=FRAMES)
    return path


@pytest.fixture(scope="module")
def straight(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Straight:
    return straight_run(clip, tmp_path_factory.mktemp("straight") / "job")


@pytest.fixture(scope="module")
def stack(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), clip, lease_s=6, books_s=60)
    try:
        yield stack
    finally:
        stack.stop()


@pytest.mark.parametrize(
    ("number", "blow", "stage"),
    [
        (1, "SIGKILL both", "segment part"),
        (2, "SIGTERM", "id join"),
        (3, "SIGKILL model", "final join"),
    ],
)
def test_a_blow_costs_nothing(
    stack: Stack, straight: Straight, number: int, blow: str, stage: str
) -> None:
    SplitScenario(stack, number, blow, stage, "3").run(straight)
