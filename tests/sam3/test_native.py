"""Meta's predictor behind our protocol, on a stand-in: what it tracks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shoal.errors import UnsupportedByEngine
from shoal.prompts import FIRST_POINTED_ID, MaskPrompt
from tests.sam3 import native_standin as standin
from tests.sam3.native_scene import (
    EVERYTHING,
    FRAMES,
    INFO,
    SQUARES,
    TEXTS,
    is_on,
    make,
    named,
    shown,
    track,
)
from tests.sam3.native_standin import StandIn
from worker.predictors.base import FrameResult, Mask, ObjectResult, Query, Removal, VisualPrompt
from worker.predictors.sam3_native.client import Sighting
from worker.predictors.sam3_native.join import match

# --- windows ----------------------------------------------------------------------------------


def test_objects_keep_their_ids_over_three_windows() -> None:
    """The stand-in numbers them anew, and in another order, in each window."""
    native = StandIn()
    found = named(track(native, TEXTS))
    assert native.started == [16] * 6, "three windows for each text"
    assert sorted(found) == [1, 2, 3, 4, 5]
    for colour, ways in SQUARES.items():
        for way in ways:
            (one,) = [track for track in found.values() if is_on(track, colour, way)]
            assert list(one) == list(range(FRAMES)), "on every frame, under one id"


def test_each_text_has_a_session_of_its_own() -> None:
    native = StandIn()
    track(native, TEXTS, 10)
    each = ["start_session", "add_prompt", "propagate_in_video", "close_session"]
    assert native.requests == each * 2


@pytest.mark.parametrize("count", [0, 1, 3, 4, 15, 16, 17, 28, 29])
def test_a_video_of_any_length_has_a_result_for_every_frame(count: int) -> None:
    results = track(native := StandIn(), TEXTS, count)
    assert all(len(result.objects) == 5 for result in results)
    assert max(native.started, default=0) <= 16


def test_memory_is_bounded_by_the_window() -> None:
    session = standin.predictor(StandIn()).open(INFO, TEXTS)
    kept = []
    for frame in make(41):
        session.step([frame])
        kept.append(len(session._pictures))
    assert max(kept) == 15
    session.close()
    assert not session._pictures


def test_results_are_held_back_until_the_next_window_has_seen_them() -> None:
    session = standin.predictor(StandIn()).open(INFO, TEXTS)
    assert [len(session.step([frame])) for frame in make(28)] == [0] * 15 + [12] + [0] * 11 + [12]
    assert len(session.finish()) == 4


def test_the_word_visual_is_a_text_like_others() -> None:
    """The package takes it for none; the stand-in then knows no colour, which must not happen."""
    with pytest.raises(KeyError, match="visual"):
        track(StandIn(), Query(prompts=("visual",)), 3)


def test_a_text_that_names_nothing_has_no_objects() -> None:
    assert not any(result.objects for result in track(StandIn(), Query(prompts=("blue",))))


# --- recognising objects ----------------------------------------------------------------------


def mask(x: int, width: int = 10) -> Mask:
    return Mask(x, 0, np.ones((10, width), np.uint8))


def known(object_id: int, mask: Mask) -> ObjectResult:
    return ObjectResult(object_id, "a", 1.0, (0.0, 0.0, 1.0, 1.0), mask)


def paired(earlier: list[Mask], later: list[Mask]) -> dict[int, int]:
    """On one frame; ids of earlier objects are from 10 on, of later ones from 0."""
    before = [known(i, each) for i, each in enumerate(earlier, 10)]
    after = [Sighting(i, 1.0, each) for i, each in enumerate(later)]
    return match([before], [after])


def test_the_best_pairs_come_first_and_one_to_one() -> None:
    assert paired([mask(0), mask(4)], [mask(3), mask(0)]) == {1: 10, 0: 11}


def test_too_little_overlap_is_another_object() -> None:
    assert paired([mask(0)], [mask(5)]) == {0: 10}  # 5 of 15 columns
    assert paired([mask(0)], [mask(6)]) == {}  # 4 of 16
    assert paired([mask(0)], [mask(10)]) == {}
    assert paired([mask(0)], []) == {}


def test_all_frames_of_the_overlap_count_together() -> None:
    """Alike on a moment's glance, but apart on all other frames."""
    before = [[known(7, mask(0))]] * 4
    after = [[Sighting(0, 1.0, mask(0))], *[[Sighting(0, 1.0, mask(20))]] * 3]
    assert match(before, after) == {}
    assert match(before[:1], after[:1]) == {0: 7}
    assert match([*before, []], [[], *after]) == {}


def test_equally_good_pairs_are_settled_by_their_ids() -> None:
    assert paired([mask(0), mask(0)], [mask(0), mask(0)]) == {0: 10, 1: 11}


# --- objects that are pointed at --------------------------------------------------------------


def at(t: int, colour: str, n: int, dx: float = 5, dy: float = 5) -> tuple[float, float]:
    """A place in a square, by default its middle."""
    x, y = SQUARES[colour][n](t)
    return x + dx, y + dy


def test_points_and_boxes_are_followed_through_all_windows() -> None:
    box = (*at(3, "green", 2, 0, 0), *at(3, "green", 2, 10, 10))
    query = Query(
        prompts=(),
        objects=(
            VisualPrompt(label="mine", frame=4, points=((*at(2, "red", 0), 1), (1.0, 60.0, 0))),
            VisualPrompt(label="yours", frame=6, box=box),
        ),
    )
    found = named(track(native := StandIn(), query))
    mine, yours = found[FIRST_POINTED_ID], found[FIRST_POINTED_ID + 1]
    assert is_on(mine, "mine", SQUARES["red"][0])
    assert list(mine) == list(range(2, FRAMES)), "from the frame on which it was pointed at"
    assert is_on(yours, "yours", SQUARES["green"][2])
    assert list(yours) == list(range(3, FRAMES))
    assert len(found) == 2
    assert native.started == [16] * 3, "all of them share a session"


def test_texts_and_points_do_not_mix_even_under_one_name() -> None:
    pointed = VisualPrompt(label="red", frame=0, points=((*at(0, "green", 1), 1),))
    found = named(track(StandIn(), Query(prompts=("red",), objects=(pointed,))))
    assert is_on(found[FIRST_POINTED_ID], "red", SQUARES["green"][1])
    assert sorted(found) == [1, 2, FIRST_POINTED_ID]
    assert all(list(each) == list(range(FRAMES)) for each in found.values())


def test_a_correction_on_a_later_frame_takes_over() -> None:
    """Also in another window than that of the first prompt."""
    query = Query(
        prompts=(),
        objects=(
            VisualPrompt(label="it", frame=60, points=((*at(30, "red", 1), 1),)),
            VisualPrompt(label="it", frame=4, points=((*at(2, "red", 0), 1),)),
        ),
    )
    (track_,) = named(track(StandIn(), query)).values()
    early = {t: seen for t, seen in track_.items() if t < 30}
    late = {t: seen for t, seen in track_.items() if t >= 30}
    assert is_on(early, "it", SQUARES["red"][0])
    assert is_on(late, "it", SQUARES["red"][1])
    assert list(track_) == list(range(2, FRAMES))


def test_objects_of_one_label_are_told_apart_by_their_names() -> None:
    query = Query(
        prompts=(),
        objects=tuple(
            VisualPrompt(label="it", object=name, frame=0, points=((*at(0, "red", n), 1),))
            for n, name in enumerate(("first", "second"))
        ),
    )
    found = named(track(StandIn(), query))
    assert is_on(found[FIRST_POINTED_ID], "it", SQUARES["red"][0])
    assert is_on(found[FIRST_POINTED_ID + 1], "it", SQUARES["red"][1])


def test_masks_as_prompts_are_refused() -> None:
    counts = "0d0T3"
    pointed = VisualPrompt(label="it", frame=0, mask=MaskPrompt(size=(64, 96), counts=counts))
    with pytest.raises(UnsupportedByEngine, match="no masks"):
        standin.predictor(StandIn()).open(INFO, Query(prompts=(), objects=(pointed,)))


# --- what is asked besides --------------------------------------------------------------------


def test_objects_are_left_out_and_all_others_stay_as_they_were() -> None:
    removed = (Removal(object_id=2), Removal(object_id=4, frame=40))
    everything = track(StandIn(), TEXTS)
    assert shown(track(StandIn(), replace(TEXTS, remove_objects=removed))) == shown(
        [
            FrameResult(
                frame.index,
                [
                    each
                    for each in frame.objects
                    if each.object_id != 2 and not (each.object_id == 4 and frame.index >= 40)
                ],
            )
            for frame in everything
        ]
    )


def test_so_many_objects_at_a_time_and_those_that_were_pointed_at_first() -> None:
    results = track(native := StandIn(), replace(EVERYTHING, max_objects=3))
    assert [len(each.objects) for each in results] == [3] * FRAMES
    ids = [{each.object_id for each in result.objects} for result in results]
    assert ids[0] == {1, 2, 3}
    assert ids[-1] == {1, 2, FIRST_POINTED_ID}
    assert native.model.max_num_objects == standin.MAX_OBJECTS, "of this video alone"
    assert all(len(each.objects) == 2 for each in track(native, replace(TEXTS, max_objects=2)))


def test_objects_below_the_threshold_are_not_tracked() -> None:
    native = StandIn()
    assert not named(track(native, replace(TEXTS, score_threshold=0.8)))
    assert native.model.new_det_thresh == standin.THRESHOLD
    scores = {
        (each.score, each.detection_score)
        for result in track(native, replace(EVERYTHING, score_threshold=0.75))
        for each in result.objects
    }
    assert scores == {(0.75, 0.75), (1.0, None)}, "nobody detected what was pointed at"
