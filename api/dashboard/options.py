"""The options of a job as the fields of a form, made from their schema."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, get_args

from shoal.jobs import Options
from shoal.outputs import KINDS, USUAL, AnyOutput

SEPARATE = ("engine", "outputs")  # have places of their own in the form


@dataclass(frozen=True)
class FormField:
    """One option.

    Attributes:
        kind: number, checkbox, select or text.
        default: what the field shows at first; empty where the default is none.
    """

    name: str
    label: str
    kind: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    step: str = "any"


def fields() -> list[FormField]:
    """A field for each option that one value can set."""
    schema = Options.model_json_schema()
    made = [
        _field(name, each, schema.get("$defs", {}))
        for name, each in schema["properties"].items()
        if name not in SEPARATE
    ]
    return [field for field in made if field]


def outputs() -> list[FormField]:
    """A checkbox for each kind of output that may be left out."""
    usual = {each.kind for each in USUAL}
    return [
        FormField(
            name=kind,
            label=kind,
            kind="checkbox",
            default=kind in usual,
            help=inspect.getdoc(model) or "",
        )
        for kind, model in zip(KINDS, get_args(AnyOutput), strict=True)
        if kind != "masks"  # always there
    ]


def _field(name: str, schema: dict[str, Any], types: dict[str, Any]) -> FormField | None:
    known = _resolved(schema, types)
    kind = known.get("type")
    default = schema.get("default")
    made = {
        "name": name,
        "label": name.replace("_", " ").replace("fps", "frames/s").capitalize(),
        "default": "" if default is None else default,
        "help": schema.get("description", ""),
    }
    if choices := known.get("enum"):
        return FormField(kind="select", choices=tuple(map(str, choices)), **made)
    if kind == "boolean":
        return FormField(kind="checkbox", **made)
    if kind in ("number", "integer"):
        return FormField(
            kind="number",
            minimum=known.get("minimum"),
            maximum=known.get("maximum"),
            step="1" if kind == "integer" else "any",
            **made,
        )
    return FormField(kind="text", **made) if kind == "string" else None


def _resolved(schema: dict[str, Any], types: dict[str, Any]) -> dict[str, Any]:
    """The schema itself: behind a reference, and the one that is not 'null' of several."""
    for inner in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        if inner.get("type") != "null":
            return _resolved(inner, types)
    if reference := schema.get("$ref"):
        return _resolved(types[reference.rpartition("/")[2]], types)
    return schema
