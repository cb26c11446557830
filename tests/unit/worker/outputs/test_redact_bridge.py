"""What is hidden where an object was not found: gaps, margins and the borders of scenes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import av
import numpy as np
import pytest

from shoal.model.outputs import Redact
from worker.engines.base import FrameResult
from worker.outputs.redact.bridge import MARGIN_S, Box, Bridge, Cover, CoverReason, Moment, Sighting
from worker.outputs.redact.report import Reporter
from worker.outputs.redact.scenes import LightSink, scene_starts
from worker.video.frame import Frame

FPS = 10
Seen = Mapping[int, Box | tuple[Box, float]]  # by frame: the box, and a score that is not 0.9


def box(x: float, y: float = 50.0, side: float = 20.0) -> Box:
    return x, y, x + side, y + side


def run(
    objects: Mapping[int, Seen], frames: int, gap_s: float = 1.0, borders: Collection[int] = ()
) -> list[Moment]:
    """All frames at 10 a second, decided; ``objects`` by id."""
    bridge, scene = Bridge(gap_s), 0
    decided: list[Moment] = []
    for index in range(frames):
        scene += index in borders
        sightings = []
        for object_id, seen in objects.items():
            if index not in seen:
                continue
            where = seen[index]
            place, score = where if isinstance(where[0], tuple) else (where, 0.9)
            sightings.append(Sighting(object_id, "face", score, place, "mask"))
        decided += bridge.add(Moment(index, index / FPS, scene), sightings)
        assert len(bridge._window) <= gap_s * FPS + 2  # no more is held than is needed
    decided += bridge.finish()
    assert [each.index for each in decided] == list(range(frames))
    return decided


def why(decided: list[Moment], object_id: int = 1) -> str:
    """A letter per frame: Found, Uncertain, Bridged, Held, or a dot."""
    letters = []
    for moment in decided:
        kinds = {
            cover.why.value[0].upper() for cover in moment.covers if cover.object_id == object_id
        }
        letters.append("".join(sorted(kinds)) or ".")
    return "".join(letters)


def cover(decided: list[Moment], index: int) -> Cover:
    [only] = decided[index].covers
    return only


def contains(outer: Box, inner: Box) -> bool:
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and outer[2] >= inner[2]
        and outer[3] >= inner[3]
    )


def test_a_dropout_is_bridged_along_the_way_of_the_object() -> None:
    way = {i: box(10 * i) for i in range(20)}
    seen = {i: place for i, place in way.items() if not 6 <= i <= 12}
    decided = run({1: seen}, 20)
    assert why(decided) == "F" * 6 + "B" * 7 + "F" * 7
    for i in range(6, 13):
        assert contains(cover(decided, i).box, way[i])  # where it really was
        assert cover(decided, i).counts == ""
        assert cover(decided, i).box[2] - cover(decided, i).box[0] < 30  # and not much more
    assert cover(decided, 5) == Cover(CoverReason.FOUND, "face", 1, way[5], "mask")


def test_a_box_that_changes_its_size_is_interpolated_too() -> None:
    decided = run({1: {0: box(0, side=20), 8: box(40, side=60)}}, 9)
    assert contains(cover(decided, 4).box, box(20, side=40))


@pytest.mark.parametrize(("gap", "bridged"), [(10, True), (11, False)])
def test_a_gap_is_bridged_up_to_its_limit(gap: int, bridged: bool) -> None:
    seen = {i: box(100) for i in (*range(20), *range(19 + gap, 60))}
    decided = run({1: seen}, 60)
    held = "H" * int(MARGIN_S * FPS)
    missing = "B" * 9 if bridged else held + held
    assert why(decided) == "F" * 20 + missing + "F" * (60 - 20 - len(missing))


def test_beyond_the_limit_it_is_held_on_both_sides() -> None:
    seen = {i: box(100) for i in (*range(15, 20), *range(50, 60))}
    assert why(run({1: seen}, 80)) == (
        "." * 10 + "H" * 5 + "F" * 5 + "H" * 5 + "." * 20 + "H" * 5 + "F" * 10 + "H" * 5 + "." * 15
    )


def test_what_is_held_follows_the_way_it_went() -> None:
    seen = {i: box(10 * i) for i in range(30, 40)}
    decided = run({1: seen}, 70)
    assert contains(cover(decided, 43).box, box(430))
    assert contains(cover(decided, 43).box, box(390))


def test_a_lost_track_and_a_new_one_near_by_are_one_object() -> None:
    first = {i: box(100 + i) for i in range(15, 25)}
    second = {i: box(100 + i) for i in range(33, 45)}
    far = {i: box(400) for i in range(33, 45)}
    bridged = run({1: first, 2: second}, 60)
    assert all("B" in why(bridged[i : i + 1], 2) for i in range(25, 33))
    for i in range(25, 33):
        assert any(contains(each.box, box(100 + i)) for each in bridged[i].covers)
    assert "B" not in why(run({1: first, 2: far}, 60), 2)


def test_two_objects_that_are_both_there_are_not_joined() -> None:
    decided = run(
        {1: {i: box(100) for i in range(40)}, 2: {i: box(130) for i in range(20, 40)}}, 40
    )
    assert "B" not in why(decided, 1) + why(decided, 2)


def test_at_a_border_it_is_held_up_to_it_and_a_frame_beyond() -> None:
    seen = {i: box(100 if i < 30 else 400) for i in (*range(20, 24), *range(37, 41))}
    decided = run({1: seen}, 60, borders=(30,))
    assert why(decided) == "." * 15 + "H" * 5 + "F" * 4 + "H" * 13 + "F" * 4 + "H" * 5 + "." * 14
    held = [[each.box[0] < 200 for each in decided[i].covers] for i in range(24, 37)]
    assert held == [[True]] * 5 + [[True, False]] * 2 + [[False]] * 6


def test_no_bridge_crosses_a_border() -> None:
    seen = {i: box(100 if i < 30 else 400) for i in range(60) if not 25 <= i < 35}
    decided = run({1: seen}, 60, borders=(30,))
    assert "B" not in why(decided)
    for i in range(25, 30):
        assert any(contains(each.box, box(100)) for each in decided[i].covers)
    for i in range(30, 35):
        assert any(contains(each.box, box(400)) for each in decided[i].covers)


def test_the_first_and_the_last_frame_are_borders() -> None:
    assert why(run({1: {i: box(100) for i in range(8, 12)}}, 20)) == "H" * 8 + "F" * 4 + "H" * 8


def test_a_doubtful_glimpse_is_held_for_a_moment_only() -> None:
    decided = run({1: {8: (box(100), 0.4)}}, 20)
    assert why(decided) == "..." + "H" * 5 + "U" + "H" * 5 + "." * 6


def test_without_gap_seconds_only_what_is_found_is_hidden() -> None:
    assert why(run({1: {i: box(5) for i in (3, 4, 6)}}, 9, gap_s=0.0)) == "...FF.F.."


# --- the report ----------------------------------------------------------------------------------


def test_the_report_lists_what_was_not_plainly_found() -> None:
    seen: Seen = {i: box(100) for i in (*range(5), *range(9, 15))} | {12: (box(100), 0.3)}
    reporter = Reporter()
    for moment in run({1: seen}, 20, borders=(15,)):
        reporter.add(moment)
    report = reporter.report("a" * 24, Redact(kind="redact"), ["face"])
    assert [(each.why, each.first_frame, each.last_frame) for each in report.check] == [
        ("bridged", 5, 8),
        ("uncertain", 12, 12),
        ("held", 15, 15),
    ]
    assert report.check[0].last_time_s == 0.8
    counts = report.frames, report.frames_redacted, report.frames_to_check, report.scenes
    assert counts == (20, 16, 6, 2)


# --- scenes --------------------------------------------------------------------------------------


def test_scenes_of_a_real_clip(sample_clip: Path, tmp_path: Path) -> None:
    sink = LightSink(tmp_path / "light.parquet")
    with av.open(str(sample_clip)) as container:
        for i, picture in enumerate(container.decode(video=0)):
            sink.write(Frame(i, i / 25, picture, True), FrameResult(i))
    sink.close()
    starts = np.flatnonzero(scene_starts(tmp_path / "light.parquet"))
    assert starts.tolist() == [0, 30, 76, 137, 187, 242]  # its cuts, as seen by eye
