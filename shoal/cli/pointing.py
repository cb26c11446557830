"""Visual prompts on the command line: from files and short forms to models."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from shoal.errors import InvalidOption, InvalidVisualPrompt
from shoal.prompts import Removal, VisualPrompt, clean_objects


def read_objects(path: Path | None) -> tuple[VisualPrompt, ...]:
    """The visual prompts in a file: a JSON list of what ``objects`` of a submission has.

    Raises:
        InvalidVisualPrompt: it cannot be read, or one of them is at fault.
    """
    if path is None:
        return ()
    try:
        text = path.expanduser().read_bytes()
        return clean_objects(TypeAdapter(tuple[VisualPrompt, ...]).validate_json(text))
    except OSError as error:
        raise InvalidVisualPrompt(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        message = f"{where}: {fault['msg']}" if where else fault["msg"]
        raise InvalidVisualPrompt(f"{path}: {message}") from error


def parse_removal(text: str) -> Removal:
    """``ID`` or ``ID@FRAME``.

    Raises:
        InvalidOption: it is neither.
    """
    object_id, _, frame = text.partition("@")
    try:
        return Removal(object_id=int(object_id), frame=int(frame or 0))
    except ValueError as error:  # pydantic's is one
        raise InvalidOption(
            f"--remove-object {text!r} is no object id",
            hint="Give an id of the masks table, or ID@FRAME to leave it out from there on.",
        ) from error
