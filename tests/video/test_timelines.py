"""Random timelines, read as a job reads them: see ``tests.video.timelines``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.video.timelines.check import check
from tests.video.timelines.pictures import HEIGHT, WIDTH
from tests.video.timelines.plan import draw
from worker.video import bomb_guard, reverse

CHUNK = 50


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverse, "WINDOW_BYTES", 17 * WIDTH * HEIGHT * 3 // 2)


@pytest.mark.parametrize("first", range(0, 500, CHUNK))
def test_what_is_read_is_what_was_authored(
    tmp_path: Path, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if first:  # the first of them are opened by another process before, as all videos are
        monkeypatch.setattr(bomb_guard, "_probe", lambda *_: None)
    for seed in range(first, first + CHUNK):
        plan = draw(seed)
        try:
            check(plan, tmp_path / f"video.{plan.kind}")
        except Exception as error:
            raise AssertionError(f"{plan}: {error}") from error
