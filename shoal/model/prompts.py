"""Prompts of a job: text, visual prompts, and objects to exclude."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import ConfigDict, FailFast, Field

from shoal.errors import InvalidPrompt, InvalidVisualPrompt
from shoal.model.strict import Strict

MAX_PROMPTS = 16
MAX_PROMPT_CHARS = 100
MAX_VISUAL_PROMPTS = 64
MAX_POINTS = 64
MAX_MASK_CHARS = 64 * 1024
MAX_ALL_MASK_CHARS = 256 * 1024
MAX_REMOVALS = 1000
MAX_SIDE = 1 << 16  # pixels
MAX_FRAME = (1 << 31) - 1  # tables of results have 32 bits for it
MAX_ID = (1 << 31) - 1
RUN_CHARS = 7  # of one run of a mask: five bits each, so 35, more than any picture has pixels

# IDs of visual prompts start here; those of text prompts are below, so that they do not change when
# a user adds a visual prompt.
FIRST_POINTED_ID = 1_000_001

Pixels = Annotated[float, Field(allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
FrameNumber = Annotated[int, Field(ge=0, le=MAX_FRAME)]


class MaskPrompt(Strict):
    """A mask as compressed COCO RLE, as encoded by ``pycocotools.mask.encode``."""

    model_config = ConfigDict(frozen=True)

    size: tuple[Side, Side] = Field(description="Height and width of the video, in pixels.")
    counts: str = Field(max_length=MAX_MASK_CHARS)


class VisualPrompt(Strict):
    """The position of an object on one frame: points, a box or a mask.

    Coordinates are pixels of the upright video, x to the right and y down, from the top left
    corner. ``frame`` is the index of the frame in the source in presentation order, from 0,
    counting every frame, as in the column ``frame`` of the mask table.
    """

    model_config = ConfigDict(frozen=True)

    label: str = Field(
        "", description="Label of the object in the results; may be one of the prompts."
    )
    object: str = Field(
        "",
        description="Distinguishes objects with the same label. Prompts with the same label and "
        "object refer to the same object: those on later frames correct its track.",
    )
    object_id: Annotated[int, Field(ge=1, lt=FIRST_POINTED_ID)] | None = Field(
        None,
        description="Instead of 'label': corrects the track of an object that a text prompt or an "
        "exemplar found, by its ID in the results of the same job without the correction.",
    )
    frame: FrameNumber
    points: Annotated[tuple[tuple[Pixels, Pixels, Literal[0, 1]], ...], FailFast()] = Field(
        (),
        max_length=MAX_POINTS,
        description="x, y, and 1 for a point on the object or 0 for one that is not.",
    )
    box: tuple[Pixels, Pixels, Pixels, Pixels] | None = Field(None, description="x0, y0, x1, y1.")
    mask: MaskPrompt | None = None


class Exemplar(Strict):
    """A box around an example of a concept: everything like it is found, on all frames.

    Coordinates and ``frame`` are those of ``VisualPrompt``.
    """

    model_config = ConfigDict(frozen=True)

    prompt: str = Field(
        description="One of the prompts, or a label of its own for what words do not describe."
    )
    frame: FrameNumber = 0
    box: tuple[Pixels, Pixels, Pixels, Pixels] = Field(description="x0, y0, x1, y1.")
    positive: bool = Field(True, description="false: what is in the box is not meant.")


class Removal(Strict):
    """An object to exclude from the results."""

    model_config = ConfigDict(frozen=True)

    object_id: int = Field(
        ge=1, le=MAX_ID, description="Object ID in the results of the same job without removals."
    )
    frame: FrameNumber = Field(0, description="Exclude it from this frame on.")


def clean_prompts(
    prompts: list[str] | tuple[str, ...], *, may_lack: bool = False
) -> tuple[str, ...]:
    """Collapse white space and remove duplicates, keeping the order.

    Args:
        may_lack: whether the list may be empty.

    Raises:
        InvalidPrompt: none or too many given, or one is empty, too long or not printable.
    """
    cleaned = tuple(dict.fromkeys(_tidy(prompt) for prompt in prompts))
    if not cleaned and not may_lack:
        raise InvalidPrompt("no prompt given")
    if len(cleaned) > MAX_PROMPTS:
        raise InvalidPrompt(f"{len(cleaned)} prompts given; the maximum is {MAX_PROMPTS}")
    for prompt in cleaned:
        if fault := _fault(prompt):
            raise InvalidPrompt(f"a prompt {fault}")
    return cleaned


def clean_objects(objects: Iterable[VisualPrompt]) -> tuple[VisualPrompt, ...]:
    """Validate visual prompts as far as possible without the video; collapse white space.

    Raises:
        InvalidVisualPrompt: names the first invalid one.
    """
    cleaned = tuple(
        each.model_copy(update={"label": _tidy(each.label), "object": _tidy(each.object)})
        for each in objects
    )
    if len(cleaned) > MAX_VISUAL_PROMPTS:
        raise InvalidVisualPrompt(
            f"{len(cleaned)} visual prompts given; the maximum is {MAX_VISUAL_PROMPTS}"
        )
    for number, each in enumerate(cleaned):
        if fault := _visual_fault(each):
            raise InvalidVisualPrompt(f"objects[{number}]: {fault}")
    places = [(each.label, each.object, each.object_id, each.frame) for each in cleaned]
    for number, place in enumerate(places):
        if (first := places.index(place)) < number:
            raise InvalidVisualPrompt(
                f"objects[{number}] and objects[{first}] refer to the same object on one frame",
                hint="Put all points into one prompt, or give each object its own 'object' name.",
            )
    if sum(len(each.mask.counts) for each in cleaned if each.mask) > MAX_ALL_MASK_CHARS:
        raise InvalidVisualPrompt(f"the masks exceed {MAX_ALL_MASK_CHARS} characters in total")
    return cleaned


def clean_exemplars(exemplars: Iterable[Exemplar], prompts: Iterable[str]) -> tuple[Exemplar, ...]:
    """Validate exemplars as far as possible without the video; collapse white space.

    Args:
        prompts: the text prompts of the job.

    Raises:
        InvalidVisualPrompt: names the first invalid one.
    """
    cleaned = tuple(each.model_copy(update={"prompt": _tidy(each.prompt)}) for each in exemplars)
    if len(cleaned) > MAX_VISUAL_PROMPTS:
        raise InvalidVisualPrompt(
            f"{len(cleaned)} exemplars given; the maximum is {MAX_VISUAL_PROMPTS}"
        )
    shown = {*prompts, *(each.prompt for each in cleaned if each.positive)}
    for number, each in enumerate(cleaned):
        fault = _box_fault(each.box)
        if text := _fault(each.prompt):
            fault = f"the prompt {text}"
        elif each.prompt not in shown:
            fault = f"{each.prompt!r} has negative exemplars only, and is not among 'prompts'"
        if fault:
            raise InvalidVisualPrompt(f"exemplars[{number}]: {fault}")
    return cleaned


def check_exemplars_fit(exemplars: Iterable[Exemplar], width: int, height: int) -> None:
    """Check that exemplars lie within the video.

    Raises:
        InvalidVisualPrompt: names the first one at fault.
    """
    for number, each in enumerate(exemplars):
        x0, y0, x1, y1 = each.box
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            raise InvalidVisualPrompt(
                f"exemplars[{number}]: the box {list(each.box)} is outside the video "
                f"({width}×{height} pixels)"
            )


def check_fits(objects: Iterable[VisualPrompt], width: int, height: int) -> None:
    """Check that visual prompts lie within the video, and once more that masks are masks.

    Raises:
        InvalidVisualPrompt: names the first one at fault.
    """
    for number, each in enumerate(objects):
        corners = [each.box[:2], each.box[2:]] if each.box else [(x, y) for x, y, _ in each.points]
        for x, y in corners:
            if not (0 <= x <= width and 0 <= y <= height):
                raise InvalidVisualPrompt(
                    f"objects[{number}]: x={x:g}, y={y:g} is outside the video "
                    f"({width}×{height} pixels)"
                )
        if each.mask and (fault := _mask_fault(each.mask)):  # the decoder trusts its input
            raise InvalidVisualPrompt(f"objects[{number}]: {fault}")
        if each.mask and each.mask.size != (height, width):
            raise InvalidVisualPrompt(
                f"objects[{number}]: the mask has size {list(each.mask.size)}, the video has "
                f"{[height, width]}"
            )


def object_ids(objects: Iterable[VisualPrompt]) -> dict[tuple[str, str], int]:
    """IDs of visually prompted objects by (label, object), in the order of the prompts."""
    named = dict.fromkeys((each.label, each.object) for each in objects if each.label)
    return {name: number for number, name in enumerate(named, FIRST_POINTED_ID)}


def is_pointed(object_id: int) -> bool:
    """Whether an object comes from a visual prompt, not from a text prompt."""
    return object_id >= FIRST_POINTED_ID


def labels(
    prompts: Iterable[str], objects: Iterable[VisualPrompt], exemplars: Iterable[Exemplar] = ()
) -> tuple[str, ...]:
    """Labels of objects: the prompts, then those of exemplars and of visual prompts besides."""
    shown = (each.prompt for each in exemplars)
    marked = (each.label for each in objects if each.label)
    return tuple(dict.fromkeys((*prompts, *shown, *marked)))


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _fault(text: str) -> str:
    """What is wrong with a prompt or label; empty if it is valid."""
    if not text:
        return "is empty"
    if len(text) > MAX_PROMPT_CHARS:
        return f"has {len(text)} characters: {text[:40]}…"
    return "" if text.isprintable() else f"contains unprintable characters: {text!r}"


def _visual_fault(prompt: VisualPrompt) -> str:
    """What is wrong with a visual prompt; empty if it is valid."""
    if prompt.object_id is not None:
        if prompt.label or prompt.object:
            return "'object_id' refers to an object that has a label already"
    elif fault := _fault(prompt.label):
        return f"the label {fault}"
    if prompt.object and (fault := _fault(prompt.object)):
        return f"the object's name {fault}"
    given = [bool(prompt.points), prompt.box is not None, prompt.mask is not None]
    if sum(given) != 1:
        return "exactly one of 'points', 'box' and 'mask' is required"
    if prompt.points and not any(inside for *_, inside in prompt.points):
        return "at least one point must be on the object (end in 1)"
    if prompt.box and (fault := _box_fault(prompt.box)):
        return fault
    return _mask_fault(prompt.mask) if prompt.mask else ""


def _box_fault(box: tuple[float, float, float, float]) -> str:
    ordered = box[0] < box[2] and box[1] < box[3]
    return "" if ordered else f"the box {list(box)} must have x0 < x1 and y0 < y1"


def _mask_fault(mask: MaskPrompt) -> str:
    height, width = mask.size
    runs = _run_lengths(mask.counts)
    if runs is None:
        return "'counts' of the mask is not compressed COCO RLE"
    if sum(runs) != height * width:
        return f"the runs of the mask cover {sum(runs)} pixels; its size is {height}×{width}"
    return "" if any(runs[1::2]) else "the mask is empty"


def _run_lengths(counts: str) -> list[int] | None:
    """Lengths of the runs of 0, 1, 0, ...; ``None`` if the text is not RLE of any possible picture.

    As ``rleFrString`` in maskApi.c of cocoapi: five bits per character, lowest first, a sixth
    bit marks a continuation; from the fourth run on, values are differences to the run two before.
    """
    runs: list[int] = []
    value = shift = total = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 0x1F) << shift
        shift += 5
        if shift > 5 * RUN_CHARS:
            return None
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        value += runs[-2] if len(runs) > 2 else 0
        total += value
        if value < 0 or total > MAX_SIDE * MAX_SIDE:
            return None
        runs.append(value)
        value = shift = 0
    return None if shift else runs
