"""Meta's predictor behind our protocol, on a stand-in: what it tracks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shoal.errors import UnsupportedByEngine
from shoal.model.prompts import FIRST_POINTED_ID, MaskPrompt
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
from worker.engines.base import Exemplar, FrameResult, Query, Removal, VisualPrompt

# --- windows ----------------------------------------------------------------------------------


def test_objects_keep_their_ids_over_three_windows() -> None:
    """The stand-in numbers them anew, and in another order, in each window."""
    native = StandIn()
    found = named(track(native, TEXTS))
    assert native.started == [16] * 3, "each window is prepared once for all texts"
    assert sorted(found) == [1, 2, 3, 4, 5]
    for colour, ways in SQUARES.items():
        for way in ways:
            (one,) = [track for track in found.values() if is_on(track, colour, way)]
            assert list(one) == list(range(FRAMES)), "on every frame, under one id"


def test_points_and_texts_reset_the_session_of_their_window() -> None:
    """What is pointed at comes first: what a text finds would be corrected otherwise."""
    native = StandIn()
    track(native, EVERYTHING, 10)
    each = ["add_prompt", "propagate_in_video"]
    pointed = ["add_prompt", "propagate_in_video", *each]
    assert native.requests == ["start_session", *pointed, *each * 2, "close_session"]


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
    with pytest.raises(UnsupportedByEngine, match="supports points and boxes only"):
        standin.predictor(StandIn()).open(INFO, Query(prompts=(), objects=(pointed,)))


def test_exemplars_are_refused_with_the_reason() -> None:
    shown = Exemplar(prompt="red", box=(0, 0, 9, 9))
    with pytest.raises(UnsupportedByEngine, match="takes one box, and uses it on its own frame"):
        standin.predictor(StandIn()).open(INFO, Query(prompts=("red",), exemplars=(shown,)))


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
