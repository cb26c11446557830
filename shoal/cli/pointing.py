"""Parses ``--objects``, ``--exemplars``, ``--remove-object`` and ``--sam3``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from shoal.errors import InvalidOption, InvalidVisualPrompt
from shoal.model.prompts import Exemplar, Removal, VisualPrompt, clean_objects
from shoal.model.sam3_options import Sam3Options

T = TypeVar("T")


def read_objects(path: Path | None) -> tuple[VisualPrompt, ...]:
    """Read visual prompts from a JSON file: a list as in the field ``objects`` of a submission.

    Raises:
        InvalidVisualPrompt: the file cannot be read, or a prompt is invalid.
    """
    return clean_objects(_read(path, TypeAdapter(tuple[VisualPrompt, ...])))


def read_exemplars(path: Path | None) -> tuple[Exemplar, ...]:
    """Read exemplars from a JSON file: a list as in the field ``exemplars`` of a submission.

    Raises:
        InvalidVisualPrompt: the file cannot be read, or is no such list.
    """
    return _read(path, TypeAdapter(tuple[Exemplar, ...]))


def _read(path: Path | None, model: TypeAdapter[tuple[T, ...]]) -> tuple[T, ...]:
    if path is None:
        return ()
    try:
        return model.validate_json(path.expanduser().read_bytes())
    except OSError as error:
        raise InvalidVisualPrompt(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        message = f"{where}: {fault['msg']}" if where else fault["msg"]
        raise InvalidVisualPrompt(f"{path}: {message}") from error


def parse_removal(text: str) -> Removal:
    """Parse ``ID`` or ``ID@FRAME``.

    Raises:
        InvalidOption: the text has another form.
    """
    object_id, _, frame = text.partition("@")
    try:
        return Removal(object_id=int(object_id), frame=int(frame or 0))
    except ValueError as error:  # pydantic's is one
        raise InvalidOption(
            f"--remove-object {text!r} is not an object ID",
            hint="Use an object ID of the mask table, or ID@FRAME to exclude it from that frame "
            "on.",
        ) from error


def parse_sam3(texts: Sequence[str] | None) -> dict[str, Any]:
    """Parse ``NAME=VALUE`` of ``--sam3``: options of a job, by name.

    Raises:
        InvalidOption: there is no such setting, or no such value.
    """
    pairs = dict(text.partition("=")[::2] for text in texts or ())
    try:
        return Sam3Options.model_validate_strings(pairs).model_dump(include=set(pairs))
    except ValidationError as error:
        fault = error.errors()[0]
        names = ", ".join(Sam3Options.model_fields)
        raise InvalidOption(
            f"--sam3 {'.'.join(map(str, fault['loc']))}: {fault['msg']}",
            hint=f"Use NAME=VALUE with one of {names}.",
        ) from error
