"""What can be submitted besides words, and what is refused before a worker sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from pydantic import ValidationError

from shoal import engines
from shoal.engines import Feature
from shoal.errors import InvalidPrompt, InvalidVisualPrompt, UnsupportedByEngine
from shoal.jobs import JobSpec, Options
from shoal.prompts import (
    FIRST_POINTED_ID,
    MAX_ALL_MASK_CHARS,
    MAX_VISUAL_PROMPTS,
    Removal,
    VisualPrompt,
    check_fits,
    clean_objects,
    clean_prompts,
    object_ids,
)

POINT = {"points": [[3, 4, 1]]}


def said(label: str = "ball", frame: int = 0, **fields: Any) -> VisualPrompt:
    return VisualPrompt.model_validate({"label": label, "frame": frame} | (fields or POINT))


def rle(height: int = 6, width: int = 8, share: float = 0.5, seed: int = 0) -> dict[str, Any]:
    mask = np.random.default_rng(seed).random((height, width)) < share
    counts = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    return {"size": [height, width], "counts": counts}


def spec(**fields: Any) -> JobSpec:
    known: dict[str, Any] = {
        "uri": "file:///a.mp4",
        "version": "1",
        "size": 1,
        "prompts": ("person",),
        "results": "file:///out/a",
    }
    return JobSpec(**(known | fields))


def test_ids_of_jobs_that_use_nothing_new_stay_what_they_were() -> None:
    assert spec().id == "29991437810cf121bdabe6ed"
    assert spec(options=Options(max_objects=0, score_threshold=None)).id == spec().id


def test_all_that_is_asked_is_part_of_the_jobs_identity() -> None:
    one, other = said(), said("cup")
    specs = [
        spec(),
        spec(objects=(one,)),
        spec(objects=(one, other)),
        spec(objects=(other, one)),  # other ids
        spec(remove_objects=(Removal(object_id=1),)),
        spec(remove_objects=(Removal(object_id=1, frame=2),)),
        spec(options=Options(max_objects=1)),
        spec(options=Options(score_threshold=0.5)),
    ]
    assert len({each.id for each in specs}) == len(specs)
    assert JobSpec.model_validate_json(specs[2].model_dump_json()) == specs[2]


def test_labels_are_the_prompts_and_what_is_named_besides() -> None:
    job = spec(prompts=("person", "ball"), objects=(said("cup"), said("ball"), said("cup", 3)))
    assert job.labels == ("person", "ball", "cup")


def test_objects_are_numbered_by_label_and_name_in_their_order() -> None:
    objects = (said("cup"), said("ball"), said("cup", 3), said("cup", object="blue", **POINT))
    assert object_ids(objects) == {
        ("cup", ""): FIRST_POINTED_ID,
        ("ball", ""): FIRST_POINTED_ID + 1,
        ("cup", "blue"): FIRST_POINTED_ID + 2,
    }


def test_prompts_may_be_lacking_where_there_are_objects() -> None:
    assert clean_prompts([], may_lack=True) == ()
    with pytest.raises(InvalidPrompt):
        clean_prompts([])
    with pytest.raises(InvalidPrompt):
        clean_prompts([" "], may_lack=True)


def test_white_space_in_labels_does_not_matter() -> None:
    (cleaned,) = clean_objects([said("  red \t ball ", object=" a  b", **POINT)])
    assert (cleaned.label, cleaned.object) == ("red ball", "a b")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("size", [(1, 3), (6, 8), (300, 400)])
def test_any_mask_of_pycocotools_is_taken(size: tuple[int, int], share: float) -> None:
    mask = rle(*size, share=share, seed=3)
    if coco.area(mask):
        clean_objects([said(mask=mask)])
    else:
        with pytest.raises(InvalidVisualPrompt, match="empty"):
            clean_objects([said(mask=mask)])


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, "give one of"),
    ({"points": []}, "give one of"),
    ({"points": [[1, 2, 1]], "box": [0, 0, 5, 5]}, "give one of"),
    ({"points": [[1, 2, 0]]}, "no point is on the object"),
    ({"box": [5, 0, 5, 5]}, "x0 < x1"),
    ({"box": [0, 7, 5, 5]}, "y0 < y1"),
    ({"mask": {"size": [6, 8], "counts": ""}}, "0 pixels"),
    ({"mask": {"size": [6, 8], "counts": "not an RLE"}}, "COCO"),
    ({"mask": {"size": [6, 8], "counts": "ä"}}, "COCO"),
    ({"mask": {"size": [7, 8], "counts": rle()["counts"]}}, "runs have 48 pixels"),
    ({"mask": rle(share=0)}, "the mask is empty"),
    ({"label": " ", **POINT}, "the label is empty"),
    ({"label": "x" * 101, **POINT}, "the label has 101 characters"),
    ({"object": "a\x00", **POINT}, "unprintable"),
]


@pytest.mark.parametrize(("fields", "message"), FAULTS)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    faulty = VisualPrompt.model_validate({"label": "ball", "frame": 0} | fields)
    with pytest.raises(InvalidVisualPrompt, match=message) as caught:
        clean_objects([said("cup"), faulty])
    assert str(caught.value).startswith("objects[1]: ")
    assert "docs/prompts.md" in caught.value.hint


@pytest.mark.parametrize(
    "fields",
    [
        {"points": [[1, 2]]},
        {"points": [[1, 2, 2]]},
        {"points": [[float("nan"), 2, 1]]},
        {"points": [[1, 2, 1]] * 65},
        {"box": [1, 2, 3]},
        {"mask": "abc"},
        {"frame": -1},
        {"circle": [1, 2, 3]},
    ],
)
def test_what_has_another_form_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VisualPrompt.model_validate({"label": "ball", "frame": 0} | fields)


def test_an_object_is_pointed_at_once_on_a_frame() -> None:
    clean_objects([said(), said("cup"), said(frame=1), said(object="b", **POINT)])
    with pytest.raises(InvalidVisualPrompt, match=r"objects\[2\] and objects\[0\]") as caught:
        clean_objects([said(), said("cup"), said()])
    assert "'object'" in caught.value.hint


def test_too_much_is_refused() -> None:
    with pytest.raises(InvalidVisualPrompt, match="limit"):
        clean_objects(said(frame=n) for n in range(MAX_VISUAL_PROMPTS + 1))
    large = rle(250, 400)
    count = MAX_ALL_MASK_CHARS // len(large["counts"]) + 1
    with pytest.raises(InvalidVisualPrompt, match="masks have more than"):
        clean_objects(said(frame=n, mask=large) for n in range(count))


def test_prompts_must_lie_within_the_video() -> None:
    inside = (said(points=[[0, 6, 1]]), said(box=[0, 0, 8, 6]), said(mask=rle()))
    check_fits(inside, width=8, height=6)
    for outside in (
        said(points=[[3, 3, 1], [8.5, 2, 0]]),
        said(box=[0, -1, 3, 3]),
        said(box=[0, 0, 3, 7]),
        said(mask=rle(8, 6)),
    ):
        with pytest.raises(InvalidVisualPrompt, match=r"objects\[1\]"):
            check_fits((said(), outside), width=8, height=6)


@pytest.mark.parametrize("fields", [{"max_objects": -1}, {"score_threshold": 1.5}])
def test_limits_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Options(**fields)


# --- what engines can do -------------------------------------------------------------------------


def test_features_are_what_a_job_uses() -> None:
    assert engines.features(Options(), (), ()) == set()
    assert engines.features(
        Options(max_objects=3, score_threshold=0.0),
        (said(), said(frame=1, mask=rle())),
        (Removal(object_id=1),),
    ) == {
        Feature.POINTS,
        Feature.MASK,
        Feature.MAX_OBJECTS,
        Feature.SCORE_THRESHOLD,
        Feature.REMOVE_OBJECTS,
    }


def test_what_an_engine_cannot_do_is_refused_with_the_reason() -> None:
    with pytest.raises(UnsupportedByEngine, match=r"cpu engine cannot do 'box'.*words") as caught:
        engines.check("cpu", ["person"], [Feature.BOX])
    assert "sam3" in caught.value.hint
    limits = (Feature.MAX_OBJECTS, Feature.SCORE_THRESHOLD, Feature.REMOVE_OBJECTS)
    engines.check("cpu", ["person"], limits)


@pytest.mark.parametrize("engine", ["auto", "sam3"])
def test_auto_needs_one_engine_that_can(engine: str) -> None:
    engines.check(engine, ["unicorn"], Feature)
    engines.check(engine, [], [Feature.POINTS])
