"""Parses ``--output``."""

from __future__ import annotations

import json
from collections.abc import Iterable

from shoal.errors import InvalidOutput
from shoal.model.outputs import AnyOutput, parse_outputs


def read_outputs(texts: Iterable[str]) -> tuple[AnyOutput, ...]:
    """``KIND``, ``KIND:option=value,...`` or a JSON object with ``kind``.

    Raises:
        UnknownOutput, InvalidOutput: as ``parse_outputs`` does.
    """
    return parse_outputs([_read(text) for text in texts])


def _read(text: str) -> object:
    if text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise InvalidOutput(f"--output {text!r} is not valid JSON: {error}") from error
    kind, _, options = text.partition(":")
    fields = {"kind": kind}
    for option in filter(None, options.split(",")):
        name, is_set, value = option.partition("=")
        fields[name] = value if is_set else "true"
    return fields
