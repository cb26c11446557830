"""Edits of a job's results that need no model: remove, merge, split and relabel objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, NamedTuple

from pydantic import ConfigDict, FailFast, Field

from shoal.errors import InvalidEdit, InvalidPrompt, UnknownObject
from shoal.model.prompts import (
    FIRST_POINTED_ID,
    MAX_ID,
    MAX_REMOVALS,
    MAX_VISUAL_PROMPTS,
    FrameNumber,
    VisualPrompt,
    clean_prompts,
)
from shoal.model.strict import Strict

ObjectId = Annotated[int, Field(ge=1, le=MAX_ID)]


class SplitEdit(Strict):
    """Where a track becomes two."""

    model_config = ConfigDict(frozen=True)

    object_id: ObjectId
    frame: FrameNumber = Field(description="First frame of the second object.")


class EditRequest(Strict):
    """Edits in the order in which they are applied. IDs are those of the base's results.

    The second object of the n-th split gets the n-th ID after the highest of the base (those of
    visual prompts left aside); the other edits may refer to it.
    """

    model_config = ConfigDict(frozen=True)

    split: Annotated[tuple[SplitEdit, ...], FailFast()] = Field(
        (), max_length=MAX_REMOVALS, description="Tracks to cut in two."
    )
    remove: Annotated[tuple[ObjectId, ...], FailFast()] = Field(
        (), max_length=MAX_REMOVALS, description="IDs of objects to leave out."
    )
    merge: Annotated[tuple[tuple[ObjectId, ...], ...], FailFast()] = Field(
        (),
        max_length=MAX_REMOVALS,
        description="Groups of IDs that are one object. It gets ID and label of the first; where "
        "several of a group are on one frame, the union of their masks.",
    )
    relabel: dict[ObjectId, str] = Field(
        {}, max_length=MAX_REMOVALS, description="New labels by object ID."
    )


class Edits(EditRequest):
    """As ``EditRequest``, checked against the base.

    Attributes:
        new_ids: of the second object of each split.
        labels: of the base and of ``relabel``, other than those of the base's prompts.
    """

    new_ids: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.split or self.remove or self.merge or self.relabel)

    @property
    def kept_ids(self) -> dict[int, int]:
        """The ID that each merged object gets."""
        return {other: group[0] for group in self.merge for other in group}


class RefineRequest(EditRequest):
    """``POST /videos/{id}/refine``: edits of the results, or corrections of the tracking."""

    objects: Annotated[tuple[VisualPrompt, ...], FailFast()] = Field(
        (),
        max_length=MAX_VISUAL_PROMPTS,
        description="Corrections, by 'object_id' or by the label of an earlier visual prompt; a "
        "new label is a new object.",
    )
    callback: str = Field(
        "", max_length=2000, description="Webhook URL that is notified when the job ends."
    )


class KnownObject(NamedTuple):
    """An object of the base, its label, and the first and last frame that it is on."""

    object_id: int
    label: str
    first_frame: int
    last_frame: int


def check_edits(
    asked: EditRequest, objects: Iterable[KnownObject], labels: Iterable[str] = ()
) -> Edits:
    """Check edits against the objects of the base.

    Args:
        labels: of the base, other than those of its prompts.

    Raises:
        UnknownObject: an ID is not one of the base.
        InvalidEdit: edits contradict each other, or a split leaves one half without frames.
        InvalidPrompt: a label is empty, too long or not printable.
    """
    known = {each.object_id: each for each in objects}
    new_ids = _new_ids(known, len(asked.split))
    _check_splits(asked.split, known)
    ids = {*known, *new_ids}
    merged = [object_id for group in asked.merge for object_id in group]
    for object_id in (*asked.remove, *merged, *asked.relabel):
        if object_id not in ids:
            raise UnknownObject(f"there is no object {object_id}")
    if any(len(group) < 2 for group in asked.merge):
        raise InvalidEdit("a group of 'merge' needs at least two objects")
    for object_id, count in Counter((*dict.fromkeys(asked.remove), *merged)).items():
        if count > 1:
            raise InvalidEdit(f"object {object_id} is in 'remove' or 'merge' more than once")
    gone = {*asked.remove, *(object_id for group in asked.merge for object_id in group[1:])}
    if lost := sorted(gone & asked.relabel.keys()):
        raise InvalidEdit(f"object {lost[0]} cannot be relabelled: it is removed or merged")
    relabel = _merged_labels(asked, known, new_ids) | _clean_labels(asked.relabel)
    return Edits(
        split=asked.split,
        remove=tuple(sorted(set(asked.remove))),
        merge=asked.merge,
        relabel=relabel,
        new_ids=new_ids,
        labels=tuple(dict.fromkeys((*labels, *relabel.values()))),
    )


def _new_ids(known: Iterable[int], count: int) -> tuple[int, ...]:
    first = 1 + max((each for each in known if each < FIRST_POINTED_ID), default=0)
    return tuple(range(first, first + count))


def _check_splits(splits: Iterable[SplitEdit], known: Mapping[int, KnownObject]) -> None:
    seen: set[int] = set()
    for split in splits:
        found = known.get(split.object_id)
        if found is None:
            raise UnknownObject(f"there is no object {split.object_id}")
        if split.object_id in seen:
            raise InvalidEdit(
                f"object {split.object_id} is split twice",
                hint="SplitEdit the second part in another version.",
            )
        if not found.first_frame < split.frame <= found.last_frame:
            raise InvalidEdit(
                f"object {split.object_id} cannot be split at frame {split.frame}: it is on "
                f"frames {found.first_frame} to {found.last_frame}"
            )
        seen.add(split.object_id)


def _merged_labels(
    asked: EditRequest, known: Mapping[int, KnownObject], new_ids: Iterable[int]
) -> dict[int, str]:
    """The label of what stays of each group in which not all have the same one."""
    cuts = dict(zip(new_ids, (split.object_id for split in asked.split), strict=True))
    labels = {
        group[0]: [known[cuts.get(object_id, object_id)].label for object_id in group]
        for group in asked.merge
    }
    return {kept: found[0] for kept, found in labels.items() if len(set(found)) > 1}


def _clean_labels(relabel: Mapping[int, str]) -> dict[int, str]:
    cleaned = {}
    for object_id, label in sorted(relabel.items()):
        try:
            (cleaned[object_id],) = clean_prompts((label,))
        except InvalidPrompt as error:
            raise InvalidPrompt(f"the label of object {object_id}: {error}") from error
    return cleaned
