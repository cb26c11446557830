"""Objects that are pointed at: against transformers' own tracker, beside words, and resumed."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from shoal.errors import InvalidVisualPrompt
from shoal.model.prompts import FIRST_POINTED_ID, MaskPrompt
from tests.running import ROOT
from tests.sam3 import videos
from tests.sam3.stock_tracker import StockTracker
from worker.engines.base import FrameResult, Query, Removal, VisualPrompt
from worker.engines.sam3.predictor import Sam3Predictor

FIRST, SECOND = FIRST_POINTED_ID, FIRST_POINTED_ID + 1
POINTS = [[20.0, 30.0, 1], [60.0, 10.0, 0]]
BOX = [12.0, 14.0, 47.5, 40.0]


@pytest.fixture(scope="module")
def engine(forgetful: Path) -> Sam3Predictor:
    """Its masks depend much on what it is told."""
    return Sam3Predictor(str(forgetful))


def ellipse() -> NDArray[np.uint8]:
    rows, columns = np.mgrid[: videos.HEIGHT, : videos.WIDTH]
    inside = ((columns - 30) / 18) ** 2 + ((rows - 25) / 12) ** 2 < 1
    return np.asarray(inside, np.uint8)


def rle(mask: NDArray[np.uint8]) -> dict[str, Any]:
    counts = coco.encode(np.asfortranarray(mask))["counts"].decode()
    return {"size": list(mask.shape), "counts": counts}


def said(label: str = "thing", frame: int = 0, **fields: Any) -> VisualPrompt:
    return VisualPrompt(label=label, frame=frame, **fields)


def track(
    engine: Sam3Predictor, frames: int, *objects: VisualPrompt, texts: Sequence[str] = ()
) -> list[FrameResult]:
    query = Query(tuple(texts), objects)
    return videos.track(engine.open(videos.INFO, query), videos.make(frames))


def mask_of(result: FrameResult, object_id: int) -> NDArray[np.uint8]:
    (mask,) = [each.mask for each in result.objects if each.object_id == object_id]
    return mask.to_full(videos.HEIGHT, videos.WIDTH)


# Ways to point at an object, and what transformers' processor is told for each.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "points": (
        {"points": POINTS},
        {
            "input_points": [[[[x, y] for x, y, _ in POINTS]]],
            "input_labels": [[[label for *_, label in POINTS]]],
        },
    ),
    "one point": (
        {"points": POINTS[:1]},
        {"input_points": [[[POINTS[0][:2]]]], "input_labels": [[[1]]]},
    ),
    "box": ({"box": BOX}, {"input_boxes": [[BOX]]}),
    "mask": ({"mask": rle(ellipse())}, {"input_masks": [ellipse()]}),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    return WAYS[request.param]


@pytest.mark.parametrize("frame", [0, 3])
def test_masks_are_those_of_transformers_tracker(
    engine: Sam3Predictor, way: tuple[dict[str, Any], dict[str, Any]], frame: int
) -> None:
    """On the frames after these memories differ: SAM3's video model takes them from tidy masks."""
    ours, theirs = way
    results = track(engine, frame + 2, said(frame=frame, **ours))
    assert [len(result.objects) for result in results] == [0] * frame + [1, 1]
    stock = StockTracker(engine, videos.make(frame + 2))
    stock.say(frame, obj_ids=[1], **theirs)
    for n in (frame, frame + 1):
        expected = stock.run(n, tidy=n > frame)[0].numpy()
        assert expected.any()
        assert np.array_equal(mask_of(results[n], FIRST), expected)


def test_a_correction_is_that_of_transformers_tracker_and_lasts(
    engine: Sam3Predictor, way: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    ours, theirs = way
    begin, there = said(points=[[70, 50, 1]]), {"input_points": [[[[70, 50]]]]}
    results = track(engine, 3, begin, said(frame=1, **ours))
    stock = StockTracker(engine, videos.make(3))
    stock.say(0, obj_ids=[1], input_labels=[[[1]]], **there)
    assert np.array_equal(mask_of(results[0], FIRST), stock.run(0)[0].numpy())
    uncorrected = stock.run(1)[0].numpy()
    stock.say(1, obj_ids=[1], **theirs)
    corrected = stock.run(1)[0].numpy()
    assert not np.array_equal(corrected, uncorrected)
    assert np.array_equal(mask_of(results[1], FIRST), corrected)
    stock.keep(1)
    assert np.array_equal(mask_of(results[2], FIRST), stock.run(2, tidy=True)[0].numpy())


def test_two_objects_on_one_frame_are_those_of_one_call(engine: Sam3Predictor) -> None:
    results = track(
        engine, 2, said("left", points=[[10, 30, 1]]), said("right", points=[[70, 20, 1]])
    )
    stock = StockTracker(engine, videos.make(2))
    places = [[[[10, 30]], [[70, 20]]]]
    stock.say(0, obj_ids=[1, 2], input_points=places, input_labels=[[[1], [1]]])
    for n in (0, 1):
        for object_id, expected in zip(
            (FIRST, SECOND), stock.run(n, tidy=n > 0).numpy(), strict=True
        ):
            assert np.array_equal(mask_of(results[n], object_id), expected)


def test_where_one_points_decides_about_the_mask(engine: Sam3Predictor) -> None:
    one, other = (track(engine, 1, said(points=[[x, 30, 1]])) for x in (5, 75))
    assert not np.array_equal(mask_of(one[0], FIRST), mask_of(other[0], FIRST))


def test_labels_tell_objects_apart_and_names_those_of_one_label(engine: Sam3Predictor) -> None:
    (result,) = track(
        engine,
        1,
        said("cup", points=[[10, 30, 1]]),
        said("plate", points=[[70, 20, 1]]),
        said("cup", object="blue", mask=rle(ellipse())),
    )
    assert [(each.object_id, each.prompt) for each in result.objects] == [
        (FIRST, "cup"),
        (SECOND, "plate"),
        (SECOND + 1, "cup"),
    ]
    assert all(each.detection_score is None for each in result.objects)


def test_pointing_changes_nothing_of_what_other_words_find(engine: Sam3Predictor) -> None:
    words = videos.shown(track(engine, 30, texts=("a",)))
    results = videos.shown(track(engine, 30, said(box=BOX), said(frame=9, box=BOX), texts=("a",)))
    found = [{i: o for i, o in frame.items() if i < FIRST} for frame in results]
    assert any(words)
    assert found == words
    assert sum(FIRST in frame for frame in results) >= 20


def test_what_was_pointed_at_outlives_hotstart(engine: Sam3Predictor) -> None:
    """What words find on this checkpoint goes within some frames."""
    by_words = track(engine, 40, texts=("a",))
    assert 0 < sum(bool(result.objects) for result in by_words) < 10
    mask = said("a", mask=rle(ellipse()))
    results = videos.shown(track(engine, 40, mask, texts=("a",)))
    assert sum(FIRST in frame for frame in results) >= 30


def test_an_object_of_the_same_name_is_not_found_again(predictor: Sam3Predictor) -> None:
    """On this checkpoint the only object fills the frame."""
    by_words = track(predictor, 20, texts=("a",))
    assert {each.object_id for result in by_words for each in result.objects} == {1}
    pointed = track(predictor, 20, said("a", points=POINTS), texts=("a",))
    assert {each.object_id for result in pointed for each in result.objects} == {FIRST}


def test_removed_objects_are_left_out_and_change_no_other(engine: Sam3Predictor) -> None:
    objects = (said("left", points=[[10, 30, 1]]), said("right", mask=rle(ellipse())))
    straight = videos.shown(track(engine, 20, *objects, texts=("a",)))
    word = min(i for frame in straight for i in frame)
    assert word < FIRST
    removals = (Removal(object_id=SECOND, frame=7), Removal(object_id=word))
    session = engine.open(videos.INFO, Query(("a",), objects, removals))
    results = videos.shown(session.step(videos.make(20)))
    session.state()  # has all frames tracked
    assert SECOND - 1 not in session._tracker.memory.obj_ids
    assert FIRST - 1 in session._tracker.memory.obj_ids
    results += videos.shown(session.finish())
    session.close()
    expected = [
        {i: shown for i, shown in frame.items() if i != word and not (i == SECOND and index >= 7)}
        for index, frame in enumerate(straight)
    ]
    assert [set(frame) for frame in results] == [set(frame) for frame in expected]
    pointed = [{i: o for i, o in frame.items() if i >= FIRST} for frame in results]
    assert pointed == [{i: o for i, o in f.items() if i >= FIRST} for f in expected]


MIXED = (
    said("thing", frame=0, box=BOX),
    said("thing", frame=11, points=[[40, 40, 1], [5, 5, 0]]),  # before the state is saved
    said("a", frame=15, mask=rle(ellipse())),
    said("thing", frame=22, points=[[20, 30, 1]]),  # after
)


@pytest.mark.parametrize("lookahead", [4, 8])
def test_the_lookahead_changes_nothing(forgetful: Path, lookahead: int) -> None:
    results = [
        videos.shown(track(Sam3Predictor(str(forgetful), lookahead=n), 30, *MIXED, texts=("a",)))
        for n in (1, lookahead)
    ]
    assert results[0] == results[1]


CONTINUE = """
import pickle, sys, torch
from pathlib import Path
from tests.sam3 import tiny, videos
from worker.engines.sam3.predictor import Sam3Predictor
torch.set_num_threads(1)
checkpoint, cut, frames, folder = sys.argv[1:]
state, query = pickle.loads((Path(folder) / "state").read_bytes())
session = Sam3Predictor(checkpoint).open(videos.INFO, query, state)
rest = videos.make(int(frames))[int(cut):]
(Path(folder) / "rest").write_bytes(pickle.dumps(videos.track(session, rest)))
"""


def test_a_fresh_process_continues_with_corrections_before_and_after(
    forgetful: Path, tmp_path: Path
) -> None:
    query = Query(("a",), MIXED, (Removal(object_id=SECOND, frame=25),), max_objects=4)
    engine = Sam3Predictor(str(forgetful), lookahead=4)
    frames = videos.make(30)
    straight = videos.track(engine.open(videos.INFO, query), frames)
    session = engine.open(videos.INFO, query)
    before = session.step(frames[:17])
    (tmp_path / "state").write_bytes(pickle.dumps((session.state(), query)))
    session.close()
    arguments = [str(forgetful), "17", "30", str(tmp_path)]
    subprocess.run([sys.executable, "-c", CONTINUE, *arguments], cwd=ROOT, check=True)
    after = pickle.loads((tmp_path / "rest").read_bytes())
    assert videos.shown(before + after) == videos.shown(straight)
    assert any(FIRST in frame for frame in videos.shown(after))


def test_memory_is_bounded_however_often_a_track_is_corrected(engine: Sam3Predictor) -> None:
    corrections = [said(frame=n, points=[[20, 30, 1]]) for n in range(60)]
    session = engine.open(videos.INFO, Query((), tuple(corrections)))
    frames = videos.make(60)
    session.step(frames[:30])
    early = len(session.state())
    session.step(frames[30:])
    assert len(session.state()) < 1.02 * early
    session.close()


def test_bfloat16_runs(forgetful: Path) -> None:
    """The precision of CUDA devices; its numbers are not compared."""
    engine = Sam3Predictor(str(forgetful))
    engine._loaded.model.bfloat16()
    results = track(engine, 30, *MIXED, texts=("a",))
    assert any(each.object_id == FIRST for result in results for each in result.objects)


# --- corrections of objects that words found ----------------------------------------------------


def test_a_correction_by_id_refines_the_track_of_an_object_that_words_found(
    predictor: Sam3Predictor,
) -> None:
    """As one of an object that was pointed at: the mask is what the user says, and it lasts."""
    frames = videos.make(20)
    before = videos.track(predictor.open(videos.INFO, Query(("a",))), frames)
    known = before[6].objects[0]
    full = np.zeros((videos.HEIGHT, videos.WIDTH), np.uint8)
    full[10:30, 20:50] = 1
    rle = coco.encode(np.asfortranarray(full))
    mask = MaskPrompt(size=full.shape, counts=rle["counts"].decode())
    correction = VisualPrompt(object_id=known.object_id, frame=6, mask=mask)
    query = Query(("a",), (correction,))
    assert query.labels == ("a",)
    assert not query.object_ids
    after = videos.track(predictor.open(videos.INFO, query), frames)
    assert videos.shown(after)[:6] == videos.shown(before)[:6]
    (corrected,) = [o for o in after[6].objects if o.object_id == known.object_id]
    assert corrected.prompt == "a"
    drawn = corrected.mask.to_full(videos.HEIGHT, videos.WIDTH)
    assert (drawn & full).sum() > 0.8 * full.sum()
    assert videos.shown(after)[7:] != videos.shown(before)[7:]
    assert {o.object_id for r in after for o in r.objects} <= {
        o.object_id for r in before for o in r.objects
    } | {o.object_id for r in after[7:] for o in r.objects}


def test_an_object_that_is_not_there_cannot_be_corrected(predictor: Sam3Predictor) -> None:
    correction = VisualPrompt(object_id=77, frame=3, points=((20, 20, 1),))
    with pytest.raises(InvalidVisualPrompt, match="object 77 is not tracked on frame 3"):
        videos.track(predictor.open(videos.INFO, Query(("a",), (correction,))), videos.make(8))
