"""The typed options of ``Client.submit`` are those of a job."""

from __future__ import annotations

import inspect
from typing import get_args, get_type_hints

import pytest

from shoal.client.batches import BatchCalls
from shoal.client.client import Client
from shoal.client.options import JobOptions, as_json
from shoal.errors import UnknownOutput
from shoal.model.job import Direction, Options


def test_every_option_of_a_job_is_typed() -> None:
    assert set(JobOptions.__annotations__) == set(Options.model_fields)
    assert not JobOptions.__required_keys__


@pytest.mark.parametrize("submit", [Client.submit, BatchCalls.submit])
def test_submit_takes_them_as_keywords(submit: object) -> None:
    """Editors complete ``**options: Unpack[JobOptions]``; ``Any`` would hide the fields."""
    assert inspect.get_annotations(submit)["options"] == "Unpack[JobOptions]"  # type: ignore[arg-type]


def test_the_words_for_a_direction_are_those_of_the_model() -> None:
    kinds = get_args(get_type_hints(JobOptions)["direction"])
    assert Direction in kinds
    assert {word for kind in kinds for word in get_args(kind)} == {d.value for d in Direction}


def test_outputs_are_checked_before_anything_is_sent() -> None:
    body = as_json({"sample_fps": 5, "outputs": ["mot", {"kind": "crops", "per_object": 3}]})
    assert body["sample_fps"] == 5
    assert {"kind": "crops", "per_object": 3} in body["outputs"]
    with pytest.raises(UnknownOutput):
        as_json({"outputs": "hologram"})
