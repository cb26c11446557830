"""Edits are checked against the objects of the base."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.errors import InvalidEdit, InvalidPrompt, ShoalError, UnknownObject
from shoal.model.edits import EditRequest, KnownObject, check_edits
from shoal.model.job import JobSpec

OBJECTS = [
    KnownObject(1, "person", 0, 30),
    KnownObject(3, "person", 5, 20),
    KnownObject(7, "ball", 10, 40),
    KnownObject(1_000_001, "dog", 0, 40),
]
SPEC = JobSpec(uri="file:///a.mp4", version="1", size=1, prompts=("person",), results="file:///r")


def checked(**fields: Any) -> Any:
    return check_edits(EditRequest.model_validate(fields), OBJECTS)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"remove": [2]}, UnknownObject),
        ({"merge": [[1, 4]]}, UnknownObject),
        ({"relabel": {8: "dog"}}, UnknownObject),
        ({"split": [{"object_id": 2, "frame": 3}]}, UnknownObject),
        ({"merge": [[1]]}, InvalidEdit),
        ({"merge": [[1, 1]]}, InvalidEdit),
        ({"merge": [[1, 3], [7, 3]]}, InvalidEdit),
        ({"merge": [[1, 3]], "remove": [3]}, InvalidEdit),
        ({"merge": [[1, 3]], "relabel": {3: "dog"}}, InvalidEdit),
        ({"remove": [1], "relabel": {1: "dog"}}, InvalidEdit),
        ({"split": [{"object_id": 3, "frame": 5}]}, InvalidEdit),
        ({"split": [{"object_id": 3, "frame": 21}]}, InvalidEdit),
        ({"split": [{"object_id": 3, "frame": 9}, {"object_id": 3, "frame": 12}]}, InvalidEdit),
        ({"relabel": {1: "  "}}, InvalidPrompt),
        ({"relabel": {1: "x" * 101}}, InvalidPrompt),
        ({"relabel": {1: "a\u202eb"}}, InvalidPrompt),
    ],
)
def test_what_contradicts_itself_or_the_base_is_refused(
    fields: dict[str, Any], error: type[ShoalError]
) -> None:
    with pytest.raises(error):
        checked(**fields)


def test_second_halves_get_the_next_ids_and_can_be_edited_at_once() -> None:
    split = [{"object_id": 3, "frame": 9}, {"object_id": 1_000_001, "frame": 12}]
    edits = checked(split=split, merge=[[1, 8]], relabel={9: "cat"})
    assert edits.new_ids == (8, 9)
    assert edits.kept_ids == {1: 1, 8: 1}
    assert edits.labels == ("cat",)


def test_a_merge_across_labels_keeps_the_first_ones_label() -> None:
    assert checked(merge=[[7, 1]]).relabel == {7: "ball"}
    assert checked(merge=[[1, 3]]).relabel == {}
    assert checked(merge=[[7, 1]], relabel={7: "puck"}).relabel == {7: "puck"}


def test_base_and_edits_are_part_of_the_id() -> None:
    one = SPEC.model_copy(update={"base": "a" * 24, "edits": checked(remove=[1])})
    other = SPEC.model_copy(update={"base": "a" * 24, "edits": checked(remove=[3])})
    elsewhere = one.model_copy(update={"base": "b" * 24})
    assert len({SPEC.id, one.id, other.id, elsewhere.id}) == 4
    assert JobSpec.model_validate_json(one.model_dump_json()).id == one.id


def test_new_labels_come_after_those_of_the_prompts() -> None:
    edits = checked(relabel={3: "dog", 1: "person"})
    assert SPEC.model_copy(update={"edits": edits}).labels == ("person", "dog")
