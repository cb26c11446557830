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
from shoal.ingest.submissions import validate_request
from shoal.model.job import Direction, JobSpec, Options
from shoal.model.prompts import (
    FIRST_POINTED_ID,
    MAX_ALL_MASK_CHARS,
    MAX_VISUAL_PROMPTS,
    Exemplar,
    Removal,
    VisualPrompt,
    check_exemplars_fit,
    check_fits,
    clean_exemplars,
    clean_objects,
    clean_prompts,
    labels,
    object_ids,
)
from shoal.model.submission import Submission

POINT: dict[str, Any] = {"points": [[3, 4, 1]]}


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
    ({}, "exactly one of 'points', 'box' and 'mask' is required"),
    ({"points": []}, "exactly one of 'points', 'box' and 'mask' is required"),
    (
        {"points": [[1, 2, 1]], "box": [0, 0, 5, 5]},
        "exactly one of 'points', 'box' and 'mask' is required",
    ),
    ({"points": [[1, 2, 0]]}, "at least one point must be on the object"),
    ({"box": [5, 0, 5, 5]}, "x0 < x1"),
    ({"box": [0, 7, 5, 5]}, "y0 < y1"),
    ({"mask": {"size": [6, 8], "counts": ""}}, "0 pixels"),
    ({"mask": {"size": [6, 8], "counts": "not an RLE"}}, "COCO"),
    ({"mask": {"size": [6, 8], "counts": "ä"}}, "COCO"),
    ({"mask": {"size": [7, 8], "counts": rle()["counts"]}}, "runs of the mask cover 48 pixels"),
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
    with pytest.raises(InvalidVisualPrompt, match="the maximum is 64"):
        clean_objects(said(frame=n) for n in range(MAX_VISUAL_PROMPTS + 1))
    large = rle(250, 400)
    count = MAX_ALL_MASK_CHARS // len(large["counts"]) + 1
    with pytest.raises(InvalidVisualPrompt, match="masks exceed"):
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
    with pytest.raises(
        UnsupportedByEngine, match=r"cpu engine does not support 'box'.*text prompts only"
    ) as caught:
        engines.check("cpu", ["person"], [Feature.BOX])
    assert "sam3" in caught.value.hint
    limits = (Feature.MAX_OBJECTS, Feature.SCORE_THRESHOLD, Feature.REMOVE_OBJECTS)
    engines.check("cpu", ["person"], limits)


@pytest.mark.parametrize("engine", ["auto", "sam3"])
def test_auto_needs_one_engine_that_can(engine: str) -> None:
    engines.check(engine, ["unicorn"], Feature)
    engines.check(engine, [], [Feature.POINTS])


# --- exemplars -----------------------------------------------------------------------------------


def shown(prompt: str = "boat", box: Any = (1, 2, 30, 40), **fields: Any) -> Exemplar:
    return Exemplar(prompt=prompt, box=box, **fields)


def test_exemplars_are_tidied_and_kept_in_order() -> None:
    cleaned = clean_exemplars([shown(" red   boat "), shown(positive=False)], ["boat"])
    assert [each.prompt for each in cleaned] == ["red boat", "boat"]
    assert clean_exemplars([], []) == ()


@pytest.mark.parametrize(
    ("exemplars", "message"),
    [
        ([shown(), shown("")], r"exemplars\[1\]: the prompt is empty"),
        ([shown(box=(5, 2, 5, 9))], r"exemplars\[0\]: the box .* must have x0 < x1"),
        ([shown("buoy", positive=False)], r"exemplars\[0\]: 'buoy' has negative exemplars only"),
        ([shown()] * (MAX_VISUAL_PROMPTS + 1), "the maximum is 64"),
    ],
)
def test_invalid_exemplars_are_refused(exemplars: list[Exemplar], message: str) -> None:
    with pytest.raises(InvalidVisualPrompt, match=message):
        clean_exemplars(exemplars, ["boat"])


def test_exemplars_must_lie_within_the_video() -> None:
    check_exemplars_fit([shown(box=(0, 0, 8, 6))], width=8, height=6)
    for box in ((-1, 0, 3, 3), (0, 0, 8.5, 3), (0, -0.1, 3, 3), (0, 0, 3, 7)):
        with pytest.raises(InvalidVisualPrompt, match=r"exemplars\[1\]"):
            check_exemplars_fit([shown(box=(0, 0, 1, 1)), shown(box=box)], width=8, height=6)


def test_exemplars_are_part_of_a_job_and_name_its_objects() -> None:
    fields = {"uri": "file:///a.mp4", "version": "1", "size": 1, "results": "file:///r"}
    plain = JobSpec(prompts=("boat",), **fields)
    job = JobSpec(prompts=("boat",), exemplars=(shown(), shown("buoy", frame=3)), **fields)
    assert job.id != plain.id
    assert job.id != job.model_copy(update={"exemplars": (shown(),)}).id
    assert job.labels == ("boat", "buoy")


@pytest.mark.parametrize("engine", ["cpu", "sam3-native"])
def test_engines_that_cannot_use_exemplars_say_so(engine: str) -> None:
    used = engines.features(Options(), (), (), (shown(),))
    assert used == {Feature.EXEMPLARS}
    engines.check("sam3", ["boat"], used)
    with pytest.raises(UnsupportedByEngine, match="does not support 'exemplars'"):
        engines.check(engine, ["boat"], used)


def test_the_rate_of_tracking_is_the_engines_unless_it_is_asked_for() -> None:
    assert Feature.TRACK_FPS not in engines.features(Options(), (), ())
    for rate in (0.0, 5.0):
        used = engines.features(Options(track_fps=rate), (), ())
        assert used == {Feature.TRACK_FPS}
        engines.check("sam3", ["person"], used)
        with pytest.raises(UnsupportedByEngine, match="a rate of its own"):
            engines.check("cpu", ["person"], used)
    for rate in (-1, 1001, float("nan")):
        with pytest.raises(ValidationError):
            Options(track_fps=rate)


# --- corrections by id ---------------------------------------------------------------------------


def corrects(object_id: int = 3, **fields: Any) -> VisualPrompt:
    return VisualPrompt.model_validate({"object_id": object_id, "frame": 5} | POINT | fields)


def test_a_correction_by_id_has_no_label_and_no_id_of_its_own() -> None:
    objects = clean_objects([said("ball"), corrects(), corrects(frame=9), corrects(4)])
    assert object_ids(objects) == {("ball", ""): FIRST_POINTED_ID}
    assert labels(["person"], objects) == ("person", "ball")
    assert engines.features(Options(), objects, ()) == {Feature.POINTS, Feature.OBJECT_ID}


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([corrects(label="ball")], "has a label already"),
        ([corrects(object="one")], "has a label already"),
        ([corrects(), corrects()], r"objects\[1\] and objects\[0\]"),
        ([VisualPrompt(frame=0, points=((1, 1, 1),))], "the label is empty"),
    ],
)
def test_invalid_corrections_are_refused(objects: list[VisualPrompt], message: str) -> None:
    with pytest.raises(InvalidVisualPrompt, match=message):
        clean_objects(objects)


def test_objects_of_visual_prompts_are_corrected_by_their_label() -> None:
    for object_id in (0, FIRST_POINTED_ID):
        with pytest.raises(ValidationError):
            corrects(object_id)


def test_a_correction_by_id_does_not_go_with_both_directions() -> None:
    options = Options(direction=Direction.BOTH, start_frame=3, engine="sam3")
    submission = Submission(
        uri="file:///a.mp4", prompts=["person"], objects=[corrects()], options=options
    )
    with pytest.raises(InvalidVisualPrompt, match="direction 'both'"):
        validate_request(submission)
