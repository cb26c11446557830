"""The outputs of a job: their kinds and options.

An output is given by its kind, or as an object with ``kind`` and its options::

    outputs: ["overlay", "mot", {"kind": "crops", "per_object": 3}]

``docs/results.md`` documents the files. Formats derived from the mask table are written by the
module of the same name in ``shoal.results.formats``, all others by ``worker.outputs``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

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
from shoal.model.prompts import MAX_PROMPTS, MAX_VISUAL_PROMPTS, clean_prompts
from shoal.model.strict import Strict

CROPS_INDEX = "crops.json"  # the index inside the ZIP of crops

MAX_COLOURS = MAX_PROMPTS + MAX_VISUAL_PROMPTS

Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$", to_lower=True)]


class _Output(Strict):
    """Base of all outputs. ``kind`` has no default, so that ``exclude_defaults`` keeps it.

    Attributes:
        ending: end of the file name, after the stem of the video.
        derived: whether it is derived from the mask table alone.
        shows_source: whether it shows unredacted pixels of the source.
    """

    model_config = ConfigDict(frozen=True)

    ending: ClassVar[str]
    derived: ClassVar[bool] = False
    shows_source: ClassVar[bool] = False


class Overlay(_Output):
    """Video with masks and labels drawn on it."""

    ending = "_segmented.mp4"
    shows_source = True

    kind: Literal["overlay"]
    boxes: bool = Field(False, description="Draw the bounding box of each object.")
    labels: bool = Field(True, description="Draw prompt and ID of each object.")
    trails: bool = Field(False, description="Draw each object's motion trail.")
    opacity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        0.45, description="Opacity of the mask fill, 0 to 1; outlines are opaque."
    )
    colour_by: Literal["prompt", "object"] = Field(
        "prompt",
        description="'prompt' gives all objects of a prompt one colour, 'object' each its own, "
        "apart from those of prompts in 'colours'.",
    )
    colours: Mapping[str, Colour] = Field(
        {}, description="Colours by prompt, such as '#ffe119'; other prompts keep the default ones."
    )
    audio: bool = Field(True, description="Keep the audio of the source.")

    @field_validator("colours", mode="before")
    @classmethod
    def _are_few(cls, value: object) -> object:
        if isinstance(value, dict) and len(value) > MAX_COLOURS:
            raise ValueError(f"{len(value)} colours were given, {MAX_COLOURS} is the limit")
        return value

    rate: Literal["sampled", "original"] = Field(
        "sampled",
        description="'sampled' shows the processed frames; 'original' shows all frames of the "
        "source, frames in between with the objects of the previous processed frame.",
    )
    hdr: Literal["tonemap", "keep"] = Field(
        "tonemap",
        description="Of an HDR source: 'tonemap' writes H.264 in SDR, 'keep' 10-bit HEVC in HDR.",
    )

    @property
    def is_rendered(self) -> bool:
        """Whether it is drawn when all frames are tracked, so that there are no segments of it."""
        return self.trails or self.rate == "original"


class Masks(_Output):
    """The mask table, as Parquet. Always written; other mask formats are derived from it."""

    ending = "_masks.parquet"

    kind: Literal["masks"]


class YoutubeVis(_Output):
    """YouTube-VIS JSON: one annotation per track, a COCO RLE or null per frame."""

    ending = "_youtube-vis.json"
    derived = True

    kind: Literal["youtube-vis"]


class Coco(_Output):
    """COCO instances JSON: one image per frame, one annotation per object on it."""

    ending = "_coco.json"
    derived = True

    kind: Literal["coco"]


class Mot(_Output):
    """MOTChallenge text: one line per object and frame."""

    ending = "_mot.txt"
    derived = True

    kind: Literal["mot"]


class Csv(_Output):
    """Tracks as CSV: the mask table without masks."""

    ending = "_tracks.csv"
    derived = True

    kind: Literal["csv"]


class Png(_Output):
    """ZIP of indexed PNG masks: one per frame, pixel value = object index."""

    ending = "_png.zip"
    derived = True

    kind: Literal["png"]


class Yolo(_Output):
    """ZIP of YOLO segmentation labels: one text file of polygons per frame."""

    ending = "_yolo.zip"
    derived = True

    kind: Literal["yolo"]


class Cvat(_Output):
    """CVAT for video 1.1 XML: one track of polygons per object."""

    ending = "_cvat.xml"
    derived = True

    kind: Literal["cvat"]


class LabelStudio(_Output):
    """Label Studio JSON: one task, one tracked rectangle per object."""

    ending = "_label-studio.json"
    derived = True

    kind: Literal["label-studio"]


class WebmAlpha(_Output):
    """ZIP of transparent WebM videos: one cut-out per object."""

    ending = "_webm-alpha.zip"
    shows_source = True

    kind: Literal["webm-alpha"]


class Crops(_Output):
    """ZIP of the sharpest crops of each object, with masks."""

    ending = "_crops.zip"
    shows_source = True

    kind: Literal["crops"]
    per_object: Annotated[int, Field(ge=1, le=100)] = Field(
        5, description="Maximum number of crops per object."
    )


class Redact(_Output):
    """Redacted video: detected objects are blurred."""

    ending = "_redacted.mp4"

    kind: Literal["redact"]
    prompts: tuple[str, ...] = Field(
        (),
        description="Prompts to redact; they are added to those of the job. Empty = all prompts.",
    )
    style: Literal["blur", "pixelate", "solid"] = Field(
        "blur", description="'blur' and 'pixelate' keep coarse averages; 'solid' keeps nothing."
    )
    dilate: Annotated[float, Field(ge=1, le=5, allow_inf_nan=False)] = Field(
        1.3, description="Size of the redacted area relative to the mask."
    )
    gap_seconds: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = Field(
        2.0, description="Redact through detection gaps of up to this many seconds."
    )
    audio: Literal["keep", "drop", "mute"] = Field(
        "keep", description="'keep', 'drop', or 'mute' (a silent track)."
    )
    strict: bool = Field(
        True, description="Write no unredacted pictures: reject outputs that show them."
    )
    keep_upload: bool = Field(
        False,
        description="Keep the source after success, if it was uploaded. Otherwise it is deleted.",
    )

    @field_validator("prompts", mode="before")
    @classmethod
    def _clean(cls, value: object) -> object:
        if isinstance(value, str):
            value = value.split("+")  # the syntax of the command line
        if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
            return value  # pydantic reports the error
        return clean_prompts(tuple(value), may_lack=True)


AnyOutput: TypeAlias = (
    Overlay
    | Masks
    | YoutubeVis
    | Coco
    | Mot
    | Csv
    | Png
    | Yolo
    | Cvat
    | LabelStudio
    | WebmAlpha
    | Crops
    | Redact
)
Output = Annotated[AnyOutput, Field(discriminator="kind")]

MODELS: tuple[type[AnyOutput], ...] = get_args(AnyOutput)


def _kind_of(model: type[AnyOutput]) -> str:
    (kind,) = get_args(model.model_fields["kind"].annotation)
    return str(kind)


# In the order in which they are listed.
KINDS = tuple(map(_kind_of, MODELS))
DERIVED = tuple(_kind_of(model) for model in MODELS if model.derived)
ENDINGS = {_kind_of(model): model.ending for model in MODELS}
ALIASES = {"masks.parquet": "masks"}

_ADAPTER: TypeAdapter[AnyOutput] = TypeAdapter(Output)


def parse_outputs(given: object) -> tuple[AnyOutput, ...]:
    """Validate outputs: each kind once, in the order of ``KINDS``. ``masks`` is always added.

    Args:
        given: kinds, mappings with ``kind`` and options, or outputs; one or several.

    Raises:
        UnknownOutput: the kind does not exist.
        InvalidOutput: an option is invalid, or a kind is given twice.
    """
    if isinstance(given, (str, Mapping, BaseModel)):
        given = (given,)
    if not isinstance(given, Iterable):
        raise InvalidOutput(f"'outputs' must be a list, not {given!r}")
    found: dict[str, AnyOutput] = {"masks": Masks(kind="masks")}
    seen = set()
    for each in map(_parse, given):
        if each.kind in seen:
            raise InvalidOutput(f"{each.kind!r} is given twice", hint="Give each kind once.")
        seen.add(each.kind)
        found[each.kind] = each
    return tuple(found[kind] for kind in KINDS if kind in found)


def prompts_of(outputs: Iterable[AnyOutput]) -> tuple[str, ...]:
    """The prompts named by outputs, which become prompts of the job."""
    return tuple(prompt for each in outputs if isinstance(each, Redact) for prompt in each.prompts)


def check_fits(
    outputs: Iterable[AnyOutput], labels: Iterable[str], *, max_objects: int = 0
) -> None:
    """Check outputs against the rest of the job, at submit time.

    Args:
        labels: labels of the objects, ``JobSpec.labels``.
        max_objects: the option of this name.

    Raises:
        InvalidOutput: colours for a prompt that the job does not have, or an output that shows
            unredacted pictures together with a strict redaction.
    """
    outputs, labels = tuple(outputs), tuple(labels)
    if any(isinstance(each, Redact) and each.strict for each in outputs):
        _check_strict(outputs, max_objects)
    for output in outputs:
        if isinstance(output, Overlay) and (unknown := [*output.colours.keys() - set(labels)]):
            raise InvalidOutput(
                f"overlay.colours: {min(unknown)!r} is not a prompt of this job",
                hint=f"The prompts are {', '.join(labels)}.",
            )


def _check_strict(outputs: Iterable[AnyOutput], max_objects: int) -> None:
    if shown := [each.kind for each in outputs if each.shows_source]:
        raise InvalidOutput(
            f"{shown[0]!r} cannot be combined with redaction: it would show what is hidden",
            hint=f"Remove {' and '.join(shown)}, submit it as a separate job, or set 'strict' of "
            "'redact' to false.",
        )
    if max_objects:
        raise InvalidOutput(
            "'max_objects' cannot be combined with redaction: objects above the limit would "
            "not be hidden",
            hint="Remove 'max_objects', or set 'strict' of 'redact' to false.",
        )


def _parse(given: object) -> AnyOutput:
    if isinstance(given, BaseModel):
        given = given.model_dump()
    fields = {"kind": given} if isinstance(given, str) else given
    if not isinstance(fields, Mapping) or not isinstance(fields.get("kind"), str):
        raise InvalidOutput(f"an output must be a kind or an object with 'kind', not {given!r}")
    kind = ALIASES.get(fields["kind"], fields["kind"])
    if kind not in KINDS:
        raise UnknownOutput(f"unknown output {kind!r}", hint=f"Choose from {', '.join(KINDS)}.")
    try:
        return _ADAPTER.validate_python({**fields, "kind": kind})
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join((kind, *map(str, fault["loc"][1:])))
        raise InvalidOutput(f"{where}: {fault['msg']}") from error


USUAL: tuple[AnyOutput, ...] = parse_outputs(("overlay", "masks"))

# The type of the option: accepts what ``parse_outputs`` accepts.
Outputs = Annotated[
    tuple[Output, ...],
    BeforeValidator(parse_outputs, json_schema_input_type=list[str | dict[str, Any]]),
]
