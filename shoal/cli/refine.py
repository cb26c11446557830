"""``shoal refine``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal.cli import output
from shoal.cli.ids import SHORT_ID, resolve_job
from shoal.cli.jobs import Id
from shoal.cli.pointing import read_objects
from shoal.cli.session import Json, session_of
from shoal.errors import InvalidOption
from shoal.model.edits import SplitEdit
from shoal.model.record import Record

Remove = Annotated[
    list[int] | None, typer.Option(metavar="ID", help="Leave out an object. Repeatable.")
]
Merge = Annotated[
    list[str] | None,
    typer.Option(metavar="ID+ID", help="Objects that are one, such as 3+7. Repeatable."),
]
Split = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID@FRAME", help="Make two objects of one, the second from FRAME on. Repeatable."
    ),
]
Relabel = Annotated[
    list[str] | None,
    typer.Option(metavar="ID=LABEL", help="Give an object another label. Repeatable."),
]
Objects = Annotated[
    Path | None,
    typer.Option(
        help="JSON file with corrections: a list of visual prompts. Not with the other options."
    ),
]
Callback = Annotated[
    str, typer.Option(metavar="URL", help="Webhook to notify when the new job ends.")
]
Watch = Annotated[bool, typer.Option("--watch", help="Watch until it has ended.")]


def refine(
    ctx: typer.Context,
    job_id: Id,
    remove: Remove = None,
    merge: Merge = None,
    split: Split = None,
    relabel: Relabel = None,
    objects: Objects = None,
    callback: Callback = "",
    watch: Watch = False,
    json: Json = False,
) -> None:
    """Make a new version of results: **shoal refine ID --remove 3 --merge 4+7 --relabel 4=dog**

    Edits need no model. Corrections (`--objects`) are tracked from the last checkpoint before them.
    """
    from shoal.cli.watching import follow

    merged = [_ids(text) for text in merge or []]
    cuts = [_split(text) for text in split or []]
    labels = dict(_label(text) for text in relabel or [])
    corrections = read_objects(objects)
    session = session_of(ctx)
    with session.connect() as client:
        record = client.refine(
            resolve_job(client, job_id),
            remove=remove or [],
            merge=merged,
            split=cuts,
            relabel=labels,
            objects=corrections,
            callback=callback,
        )
        if watch:
            (record,) = follow(client, [record.id])
    _show(record, as_json=session.json, watched=watch)


def _show(record: Record, *, as_json: bool, watched: bool) -> None:
    """Print the new job; exit as it ended if it was watched."""
    from shoal.cli.views import show_jobs
    from shoal.cli.watching import exit_for, show_outcomes

    if as_json:
        output.print_json(record)
    elif watched:
        show_outcomes([record])
    else:
        show_jobs([record])
        if not record.state.is_final:
            output.suggest(f"to watch: shoal watch {record.id[:SHORT_ID]}")
    if watched:
        exit_for([record])


def _ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split("+")]
    except ValueError as error:
        raise InvalidOption(
            f"--merge {text!r} is not a group of objects", hint="Join object IDs with '+': 3+7."
        ) from error


def _split(text: str) -> SplitEdit:
    object_id, _, frame = text.partition("@")
    try:
        return SplitEdit(object_id=int(object_id), frame=int(frame))
    except ValueError as error:  # pydantic's is one
        raise InvalidOption(
            f"--split {text!r} is not an object and a frame", hint="Use ID@FRAME, such as 5@120."
        ) from error


def _label(text: str) -> tuple[int, str]:
    object_id, equals, label = text.partition("=")
    if not (equals and label.strip() and object_id.isdecimal()):
        raise InvalidOption(
            f"--relabel {text!r} is not an object and a label", hint="Use ID=LABEL, such as 4=dog."
        )
    return int(object_id), label
