"""JSON written piece by piece, for documents that memory shall not hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_object(path: Path, fields: Mapping[str, Any], lists: Mapping[str, Iterable[Any]]) -> None:
    """Write one object: ``fields`` as they are, then ``lists``, whose items are asked for one by
    one and stand on a line each.
    """
    with path.open("w") as file:
        file.write("{")
        for name, value in fields.items():
            file.write(f"{json.dumps(name)}: {_dumped(value)},\n")
        for number, (name, items) in enumerate(lists.items()):
            file.write(",\n" * bool(number) + f"{json.dumps(name)}: [")
            for position, item in enumerate(items):
                file.write(",\n" * bool(position) + _dumped(item))
            file.write("]")
        file.write("}\n")


def _dumped(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
