"""What a job writes: the kinds of outputs, their options, and how a user names them.

A kind is asked for by its name, or as an object with ``kind`` and options of its own::

    outputs: ["overlay", "mot", {"kind": "crops", "per_object": 3}]

How each is made is told in ``worker.making``; ``docs/results.md`` says what is in the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from shoal.errors import InvalidOutput, UnknownOutput
from shoal.prompts import clean_prompts

CROPS_INDEX = "crops.json"  # in the zip of crops: what each picture is

Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$", to_lower=True)]


class _Output(BaseModel):
    """``kind`` has no default: what is dumped without defaults still says what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Overlay(_Output):
    """The video with its objects drawn on it."""

    kind: Literal["overlay"]
    boxes: bool = Field(False, description="Draw the box of each object.")
    labels: bool = Field(True, description="Write prompt and id at each object.")
    trails: bool = Field(False, description="Draw the way of each object's centre so far.")
    opacity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        0.45, description="Of the fill, 0 to 1; the outline is opaque."
    )
    colours: Mapping[str, Colour] = Field(
        {}, description="Of prompts, by name; others keep the usual ones."
    )
    audio: bool = Field(True, description="Keep the sound of the source.")
    rate: Literal["sampled", "original"] = Field(
        "sampled",
        description="'sampled' shows the frames that were written, 'original' all of the source, "
        "those in between with the objects of the one before.",
    )


class Masks(_Output):
    """The mask table. Always written: every format without pictures is made of it."""

    kind: Literal["masks"]


class YoutubeVis(_Output):
    """YouTube-VIS JSON: one entry per track, a COCO RLE or null per written frame."""

    kind: Literal["youtube-vis"]


class Coco(_Output):
    """COCO instances: one image per written frame, one annotation per object on it."""

    kind: Literal["coco"]


class Mot(_Output):
    """MOTChallenge text: one line per object and frame."""

    kind: Literal["mot"]


class Csv(_Output):
    """The tracks as comma-separated values: the mask table without masks."""

    kind: Literal["csv"]


class Png(_Output):
    """A zip of indexed PNGs: one per written frame, the pixel's value says whose it is."""

    kind: Literal["png"]


class WebmAlpha(_Output):
    """A zip of transparent videos: each object cut out."""

    kind: Literal["webm-alpha"]


class Crops(_Output):
    """A zip of the best pictures of each object, with masks."""

    kind: Literal["crops"]
    per_object: Annotated[int, Field(ge=1, le=100)] = Field(
        5, description="At most so many of each object."
    )


class Redact(_Output):
    """The video with what was found hidden, for those who must publish it."""

    kind: Literal["redact"]
    prompts: tuple[str, ...] = Field(
        (), description="What is hidden; they are prompts of the job as well. None: all of them."
    )
    style: Literal["blur", "pixelate", "solid"] = Field(
        "blur", description="'solid' leaves nothing at all of what is hidden."
    )
    dilate: Annotated[float, Field(ge=1, le=5, allow_inf_nan=False)] = Field(
        1.3, description="How much larger than the mask is what is hidden."
    )
    gap_seconds: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = Field(
        2.0, description="For how long an object may be missed and still be hidden."
    )
    audio: Literal["keep", "drop", "mute"] = Field(
        "keep", description="'mute' leaves a silent track where there was sound."
    )
    strict: bool = Field(True, description="Write no picture that is not redacted.")

    @field_validator("prompts", mode="before")
    @classmethod
    def _clean(cls, value: object) -> object:
        if isinstance(value, str):
            value = value.split("+")  # as the command line has it
        if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
            return value  # pydantic says what is wrong with it
        return clean_prompts(tuple(value), may_lack=True)


Output = Annotated[
    Overlay | Masks | YoutubeVis | Coco | Mot | Csv | Png | WebmAlpha | Crops | Redact,
    Field(discriminator="kind"),
]
AnyOutput: TypeAlias = (
    Overlay | Masks | YoutubeVis | Coco | Mot | Csv | Png | WebmAlpha | Crops | Redact
)

# In the order in which they are listed everywhere.
KINDS: tuple[str, ...] = tuple(
    get_args(model.model_fields["kind"].annotation)[0] for model in get_args(AnyOutput)
)
ALIASES = {"masks.parquet": "masks"}
PICTURES = (Overlay, WebmAlpha, Crops)  # that show the source as it is

_ADAPTER: TypeAdapter[AnyOutput] = TypeAdapter(Output)


def parse_outputs(wanted: object) -> tuple[AnyOutput, ...]:
    """What a user asks for, checked: each kind once, in the order of ``KINDS``.

    ``masks`` is added where it lacks.

    Args:
        wanted: names, mappings with ``kind`` and options, or outputs; one alone or several.

    Raises:
        UnknownOutput: there is no such kind.
        InvalidOutput: an option is wrong, or a kind is there twice.
    """
    if isinstance(wanted, (str, Mapping, BaseModel)):
        wanted = (wanted,)
    if not isinstance(wanted, Iterable):
        raise InvalidOutput(f"outputs are a list, not {wanted!r}")
    found: dict[str, AnyOutput] = {"masks": Masks(kind="masks")}
    named = set()
    for each in map(_parse, wanted):
        if each.kind in named:
            raise InvalidOutput(f"{each.kind!r} is there twice", hint="Give each kind once.")
        named.add(each.kind)
        found[each.kind] = each
    return tuple(found[kind] for kind in KINDS if kind in found)


def prompts_of(outputs: Iterable[AnyOutput]) -> tuple[str, ...]:
    """Those that outputs name, and that the job therefore has, too."""
    return tuple(prompt for each in outputs if isinstance(each, Redact) for prompt in each.prompts)


def check_fits(
    outputs: Iterable[AnyOutput], labels: Iterable[str], *, max_objects: int = 0
) -> None:
    """Tell at submit time what does not fit the rest of the job.

    Args:
        labels: what its objects will be called: ``JobSpec.labels``.
        max_objects: of its options.

    Raises:
        InvalidOutput: colours for a prompt that the job does not have; pictures beside a strict
            redaction.
    """
    outputs, known = tuple(outputs), tuple(labels)
    if any(isinstance(each, Redact) and each.strict for each in outputs):
        _check_strict(outputs, max_objects)
    for output in outputs:
        if isinstance(output, Overlay) and (odd := [*output.colours.keys() - set(known)]):
            raise InvalidOutput(
                f"overlay.colours: {min(odd)!r} is no prompt of this job",
                hint=f"Its prompts are {', '.join(known)}.",
            )


def _check_strict(outputs: Iterable[AnyOutput], max_objects: int) -> None:
    if shown := [each.kind for each in outputs if isinstance(each, PICTURES)]:
        raise InvalidOutput(
            f"{shown[0]!r} shows what 'redact' hides",
            hint=f"Leave out {' and '.join(shown)}, ask for it in a job of its own, or set "
            "'strict' of 'redact' to false.",
        )
    if max_objects:
        raise InvalidOutput(
            "with 'max_objects' there may be objects that 'redact' does not hide",
            hint="Leave out 'max_objects', or set 'strict' of 'redact' to false.",
        )


def _parse(wanted: object) -> AnyOutput:
    if isinstance(wanted, BaseModel):
        wanted = wanted.model_dump()
    fields = {"kind": wanted} if isinstance(wanted, str) else wanted
    if not isinstance(fields, Mapping) or not isinstance(fields.get("kind"), str):
        raise InvalidOutput(f"an output is a name or an object with 'kind', not {wanted!r}")
    kind = ALIASES.get(fields["kind"], fields["kind"])
    if kind not in KINDS:
        raise UnknownOutput(f"there is no output {kind!r}", hint=f"Choose from {', '.join(KINDS)}.")
    try:
        return _ADAPTER.validate_python({**fields, "kind": kind})
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join((kind, *map(str, fault["loc"][1:])))
        raise InvalidOutput(f"{where}: {fault['msg']}") from error


USUAL: tuple[AnyOutput, ...] = parse_outputs(("overlay", "masks"))

# The field of a job's options: what ``parse_outputs`` takes, as what it returns.
Outputs = Annotated[
    tuple[Output, ...],
    BeforeValidator(parse_outputs, json_schema_input_type=list[str | dict[str, Any]]),
]
