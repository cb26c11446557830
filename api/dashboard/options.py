"""The form fields of a job's options, generated from their JSON schema."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, get_args

from shoal.formatting import label
from shoal.model.job import Options
from shoal.model.outputs import KINDS, USUAL, AnyOutput
from shoal.model.sam3_options import Sam3Options

SEPARATE = ("engine", "outputs")  # have their own sections in the form
HELP = {
    "sample_fps": "Frames to process per second of video; 0 = all frames. Empty: all frames of a "
    "video of up to a minute, 1 per second of a longer one or of each video of a batch."
}
EMPTY = ("sample_fps",)  # the page's default is not that of the API: see static/new.js


@dataclass(frozen=True)
class FormField:
    """One option.

    Attributes:
        kind: number, checkbox, select or text.
        default: the initial value; empty if the option has no default.
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
    """A field for each option that has a single value; those of one engine come last."""
    schema = Options.model_json_schema()
    made = [
        _field(name, each, schema.get("$defs", {}))
        for name, each in schema["properties"].items()
        if name not in SEPARATE
    ]
    return sorted(filter(None, made), key=lambda field: field.name in Sam3Options.model_fields)


def outputs() -> list[FormField]:
    """A checkbox for each kind of output that is optional."""
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
        if kind != "masks"  # always written
    ]


def _field(name: str, schema: dict[str, Any], types: dict[str, Any]) -> FormField | None:
    resolved = _resolved(schema, types)
    kind = "string" if _takes_a_number_too(schema, resolved) else resolved.get("type")
    default = schema.get("default")
    made: dict[str, Any] = {
        "name": name,
        "label": label(name),
        "default": "" if default is None or name in EMPTY else default,
        "help": HELP.get(name) or schema.get("description", ""),
    }
    if (choices := resolved.get("enum")) and not _takes_a_number_too(schema, resolved):
        return FormField(kind="select", choices=tuple(map(str, choices)), **made)
    if kind == "boolean":
        return FormField(kind="checkbox", **made)
    if kind in ("number", "integer"):
        return FormField(
            kind="number",
            minimum=resolved.get("minimum"),
            maximum=resolved.get("maximum"),
            step="1" if kind == "integer" else "any",
            **made,
        )
    return FormField(kind="text", **made) if kind == "string" else None


def _takes_a_number_too(schema: dict[str, Any], resolved: dict[str, Any]) -> bool:
    """Whether an option has a value of its choices or a number: that is typed."""
    others = [each.get("type") for each in schema.get("anyOf", ())]
    return "enum" in resolved and "integer" in others


def _resolved(schema: dict[str, Any], types: dict[str, Any]) -> dict[str, Any]:
    """The schema behind a reference, or the one alternative that is not null."""
    for inner in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        if inner.get("type") != "null":
            return _resolved(inner, types)
    if reference := schema.get("$ref"):
        return _resolved(types[reference.rpartition("/")[2]], types)
    return schema
