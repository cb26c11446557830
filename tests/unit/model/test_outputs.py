"""What a job is asked to write: what is refused, and what is the same wish."""

from __future__ import annotations

import pytest

from shoal.cli.outputs import read_outputs
from shoal.errors import InvalidOutput, UnknownOutput
from shoal.model import outputs
from shoal.model.job import Options
from shoal.model.outputs import Crops, Overlay, parse_outputs
from tests.unit.model.test_options import job_id


def test_overlay_and_masks_are_usual() -> None:
    assert [each.kind for each in Options().outputs] == ["overlay", "masks"]
    assert job_id(outputs=["overlay"]) == job_id()
    assert job_id(outputs=["masks", "overlay"]) == job_id()
    assert job_id(outputs=[{"kind": "overlay", "opacity": 0.45}]) == job_id()
    assert job_id(outputs="overlay") == job_id()


def test_the_mask_table_is_always_there() -> None:
    assert [each.kind for each in parse_outputs([])] == ["masks"]
    assert [each.kind for each in parse_outputs("mot")] == ["masks", "mot"]
    assert parse_outputs(["masks.parquet"]) == parse_outputs(["masks"])


def test_order_is_nothing_and_options_are_something() -> None:
    assert job_id(outputs=["mot", "csv"]) == job_id(outputs=["csv", "mot"])
    ids = [
        job_id(outputs=wanted)
        for wanted in (
            ["mot"],
            ["csv"],
            ["crops"],
            [{"kind": "crops", "per_object": 2}],
            [{"kind": "overlay", "colours": {"person": "#ffffff"}}],
            [{"kind": "overlay", "colours": {"person": "#ff0000"}}],
        )
    ]
    assert len({*ids, job_id()}) == 7
    assert job_id(outputs=[{"kind": "overlay", "colours": {"person": "#FF0000"}}]) == job_id(
        outputs=[{"kind": "overlay", "colours": {"person": "#ff0000"}}]
    )


def test_a_wish_survives_its_record() -> None:
    options = Options.model_validate({"outputs": ["mot", {"kind": "crops", "per_object": 2}]})
    assert Options.model_validate_json(options.model_dump_json()) == options
    sparse = options.model_dump(mode="json", exclude_defaults=True)
    assert Options.model_validate(sparse) == options


@pytest.mark.parametrize(
    ("wanted", "error", "told"),
    [
        (["gif"], UnknownOutput, "'gif'"),
        ([{"kind": "gif"}], UnknownOutput, "'gif'"),
        (["mot", {"kind": "mot"}], InvalidOutput, "twice"),
        ([{"kind": "overlay", "opacity": 1.5}], InvalidOutput, "overlay.opacity"),
        ([{"kind": "overlay", "colours": {"a": "red"}}], InvalidOutput, "overlay.colours.a"),
        ([{"kind": "overlay", "rate": "double"}], InvalidOutput, "overlay.rate"),
        ([{"kind": "mot", "boxes": True}], InvalidOutput, "mot.boxes"),
        ([{"boxes": True}], InvalidOutput, "'kind'"),
        ([None], InvalidOutput, "None"),
        (7, InvalidOutput, "7"),
    ],
)
def test_what_cannot_be_meant_is_refused(wanted: object, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        parse_outputs(wanted)
    with pytest.raises(error, match=told):
        Options.model_validate({"outputs": wanted})


def test_colours_are_of_prompts_of_the_job() -> None:
    wanted = parse_outputs([Overlay(kind="overlay", colours={"person": "#ffffff"})])
    outputs.check_fits(wanted, ["person", "ball"])
    with pytest.raises(InvalidOutput, match="'person' is not a prompt"):
        outputs.check_fits(wanted, ["ball"])


def test_short_forms() -> None:
    overlay, _, crops = read_outputs(
        ["crops:per_object=3", "overlay:boxes,opacity=0.2,labels=false"]
    )
    assert crops == Crops(kind="crops", per_object=3)
    assert overlay == Overlay(kind="overlay", boxes=True, opacity=0.2, labels=False)
    (overlay, _) = read_outputs(['{"kind": "overlay", "colours": {"ball": "#00ff00"}}'])
    assert isinstance(overlay, Overlay)
    assert overlay.colours == {"ball": "#00ff00"}


@pytest.mark.parametrize("text", ["{", "overlay:opacity=much", "overlay:=1", "mot:x"])
def test_short_forms_that_mean_nothing(text: str) -> None:
    with pytest.raises(InvalidOutput):
        read_outputs([text])
