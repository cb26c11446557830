"""The frames of a split video's segments are those of an unsplit read, to the frame."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.video.test_resume import CLIPS
from tests.video.timelines.author import author
from tests.video.timelines.plan import draw
from worker.pipeline.split import plan
from worker.pipeline.split.plan import CutPlace, PlannedSegment, choose, read
from worker.video.planes import fingerprint
from worker.video.source import open_source

# One of each way to be entered in the middle; random timelines have the other formats.
NAMES = ("open-gop.mp4", "refresh.ts", "irregular.mkv", "seam.ts", "damaged.mp4", "folder")

Seen = tuple[int, float, bool, int]


@pytest.fixture(autouse=True)
def short_overlaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that short clips have several segments."""
    monkeypatch.setattr(plan, "OVERLAP", 6)
    monkeypatch.setattr(plan, "MIN_FRAMES", 12)


def frames(
    path: Path, place: CutPlace, until: int, tracking_fps: float, **options: Any
) -> list[Seen]:
    """Index, time, whether it is written, and picture."""
    with open_source(path, **options | ({"max_frames": until} if until else {})) as source:
        if place.position:
            source.resume(place.position, place.picture)
        else:
            source.skip_to_start()
        with closing(source.frames(tracking_fps)) as found:
            return [(f.index, f.time_s, f.wanted, fingerprint(f.picture)) for f in found]


def check(path: Path, segments: int, tracking_fps: float, **options: Any) -> int:
    """Compare all segments with an unsplit read; how many there are."""
    whole = frames(path, CutPlace(), 0, tracking_fps, **options)
    with open_source(path, **options) as source:
        source.skip_to_start()
        planned = choose(read(source, tracking_fps, plan.OVERLAP // 2, lambda: None), segments)
    written = [each for each in whole if each[2]]
    own: list[Seen] = []
    for number, each in enumerate(planned):
        own += _check_segment(path, each, whole, tracking_fps, options)
        if number:
            assert len(_common(planned[number - 1], each, written)) == plan.OVERLAP
    assert own == written
    return len(planned)


def _check_segment(
    path: Path, each: PlannedSegment, whole: list[Seen], tracking_fps: float, options: Any
) -> list[Seen]:
    """Gives its own written frames, as they are read for rendering."""
    tracked = frames(path, each.start, each.until, tracking_fps, **options)
    begin = next(n for n, frame in enumerate(whole) if frame[0] > each.start.index)
    assert tracked == whole[begin : begin + len(tracked)]
    if not each.until:
        assert tracked == whole[begin:]
    rendered = frames(path, each.own, each.own_until, 0.0, **options)
    own = [frame for frame in tracked if frame[2] and frame[0] > each.own.index]
    assert rendered == own[: len(rendered)]
    return rendered


def _common(before: PlannedSegment, after: PlannedSegment, written: list[Seen]) -> list[Seen]:
    return written[after.start.written : before.until]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{"sample_fps": 0}, {"sample_fps": 9, "start_frame": 5}])
def test_whatever_the_format(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    CLIPS[name][0](tmp_path / name)
    assert check(tmp_path / name, 3, 15.0, **options) >= (2 if options["sample_fps"] == 0 else 1)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 10**6),
    segments=st.integers(2, 6),
    sample_fps=st.sampled_from([0.0, 8.0]),
    tracking_fps=st.sampled_from([0.0, 15.0]),
)
def test_whatever_the_timeline(
    seed: int,
    segments: int,
    sample_fps: float,
    tracking_fps: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    timeline = draw(seed)
    path = tmp_path_factory.mktemp("timeline") / f"video.{timeline.kind}"
    author(timeline, path)
    check(path, segments, tracking_fps, sample_fps=sample_fps)
