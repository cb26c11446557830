"""What a job can be asked: words, objects that a user points at, and objects to leave out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shoal.errors import InvalidPrompt, InvalidVisualPrompt

MAX_PROMPTS = 16
MAX_PROMPT_CHARS = 100
MAX_VISUAL_PROMPTS = 64
MAX_POINTS = 64
MAX_MASK_CHARS = 64 * 1024
MAX_ALL_MASK_CHARS = 256 * 1024
MAX_REMOVALS = 1000

# Objects that were pointed at are numbered from here: below are those that words found, whose
# ids so stay the same when a user points at something more.
FIRST_POINTED_ID = 1_000_001

Pixels = Annotated[float, Field(allow_inf_nan=False)]


class MaskPrompt(BaseModel):
    """A mask as COCO's compressed RLE, such as ``pycocotools.mask.encode`` makes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[int, int] = Field(description="Height and width: those of the video.")
    counts: str = Field(max_length=MAX_MASK_CHARS)


class VisualPrompt(BaseModel):
    """Where an object is on one frame: points, a box or a mask.

    Coordinates are pixels of the upright video, x to the right and y down, from the top left
    corner of the picture. ``frame`` is the number that the masks table has in its column
    ``frame``: the frame's position in the source in presentation order, from 0, counting every
    frame, written or not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = Field(description="What results call it; may be one of the prompts.")
    object: str = Field(
        "",
        description="Tells apart objects of one label. Prompts with the same label and object "
        "are about the same object: those on later frames correct its track.",
    )
    frame: int = Field(ge=0)
    points: tuple[tuple[Pixels, Pixels, Literal[0, 1]], ...] = Field(
        (), max_length=MAX_POINTS, description="x, y, and 1 if it is on the object, 0 if not."
    )
    box: tuple[Pixels, Pixels, Pixels, Pixels] | None = Field(None, description="x0, y0, x1, y1.")
    mask: MaskPrompt | None = None


class Removal(BaseModel):
    """An object that results leave out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    object_id: int = Field(ge=1, description="As in the results of the job without removals.")
    frame: int = Field(0, ge=0, description="From this frame on.")


def clean_prompts(
    prompts: list[str] | tuple[str, ...], *, may_lack: bool = False
) -> tuple[str, ...]:
    """Collapse white space and drop duplicates, keeping the order.

    Args:
        may_lack: whether there need not be any.

    Raises:
        InvalidPrompt: none given, one is empty or too long, too many, or not printable.
    """
    cleaned = tuple(dict.fromkeys(_tidy(prompt) for prompt in prompts))
    if not cleaned and not may_lack:
        raise InvalidPrompt("no prompt was given")
    if len(cleaned) > MAX_PROMPTS:
        raise InvalidPrompt(f"{len(cleaned)} prompts were given, {MAX_PROMPTS} is the limit")
    for prompt in cleaned:
        if fault := _fault(prompt):
            raise InvalidPrompt(f"a prompt {fault}")
    return cleaned


def clean_objects(objects: Iterable[VisualPrompt]) -> tuple[VisualPrompt, ...]:
    """Check visual prompts as far as that needs no video, and collapse white space in labels.

    Raises:
        InvalidVisualPrompt: naming the first one that is at fault.
    """
    cleaned = tuple(
        each.model_copy(update={"label": _tidy(each.label), "object": _tidy(each.object)})
        for each in objects
    )
    if len(cleaned) > MAX_VISUAL_PROMPTS:
        raise InvalidVisualPrompt(
            f"{len(cleaned)} visual prompts were given, {MAX_VISUAL_PROMPTS} is the limit"
        )
    for number, each in enumerate(cleaned):
        if fault := _visual_fault(each):
            raise InvalidVisualPrompt(f"objects[{number}]: {fault}")
    places = [(each.label, each.object, each.frame) for each in cleaned]
    for number, place in enumerate(places):
        if (first := places.index(place)) < number:
            raise InvalidVisualPrompt(
                f"objects[{number}] and objects[{first}] are about the same object on one frame",
                hint="Put all points into one prompt, or give each object its own 'object' name.",
            )
    if sum(len(each.mask.counts) for each in cleaned if each.mask) > MAX_ALL_MASK_CHARS:
        raise InvalidVisualPrompt(f"the masks have more than {MAX_ALL_MASK_CHARS} characters")
    return cleaned


def check_fits(objects: Iterable[VisualPrompt], width: int, height: int) -> None:
    """Check that visual prompts lie within the video.

    Raises:
        InvalidVisualPrompt: naming the first one that does not.
    """
    for number, each in enumerate(objects):
        corners = [each.box[:2], each.box[2:]] if each.box else [(x, y) for x, y, _ in each.points]
        for x, y in corners:
            if not (0 <= x <= width and 0 <= y <= height):
                raise InvalidVisualPrompt(
                    f"objects[{number}]: x={x:g}, y={y:g} is outside the video of "
                    f"{width}×{height} pixels"
                )
        if each.mask and each.mask.size != (height, width):
            raise InvalidVisualPrompt(
                f"objects[{number}]: the mask's size is {list(each.mask.size)}, "
                f"the video's is {[height, width]}"
            )


def object_ids(objects: Iterable[VisualPrompt]) -> dict[tuple[str, str], int]:
    """The ids of the objects that were pointed at, by label and object, in order of mention."""
    named = dict.fromkeys((each.label, each.object) for each in objects)
    return {name: number for number, name in enumerate(named, FIRST_POINTED_ID)}


def is_pointed(object_id: int) -> bool:
    """Whether an object was pointed at, and not found by a text."""
    return object_id >= FIRST_POINTED_ID


def labels(prompts: Iterable[str], objects: Iterable[VisualPrompt]) -> tuple[str, ...]:
    """What results may call an object: the prompts, then the labels that are none."""
    return tuple(dict.fromkeys((*prompts, *(each.label for each in objects))))


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _fault(text: str) -> str:
    """What is wrong with a prompt or a label; empty if nothing is."""
    if not text:
        return "is empty"
    if len(text) > MAX_PROMPT_CHARS:
        return f"has {len(text)} characters: {text[:40]}…"
    return "" if text.isprintable() else f"holds unprintable characters: {text!r}"


def _visual_fault(prompt: VisualPrompt) -> str:
    """What is wrong with a visual prompt; empty if nothing is."""
    if fault := _fault(prompt.label):
        return f"the label {fault}"
    if prompt.object and (fault := _fault(prompt.object)):
        return f"the object's name {fault}"
    given = [bool(prompt.points), prompt.box is not None, prompt.mask is not None]
    if sum(given) != 1:
        return "give one of 'points' (not empty), 'box' and 'mask'"
    if prompt.points and not any(inside for *_, inside in prompt.points):
        return "no point is on the object: one must end in 1"
    if prompt.box and not (prompt.box[0] < prompt.box[2] and prompt.box[1] < prompt.box[3]):
        return f"the box {list(prompt.box)} is not x0 < x1 and y0 < y1"
    return _mask_fault(prompt.mask) if prompt.mask else ""


def _mask_fault(mask: MaskPrompt) -> str:
    height, width = mask.size
    runs = _run_lengths(mask.counts)
    if runs is None or min(runs, default=0) < 0:
        return "the mask's 'counts' are not COCO's compressed RLE"
    if sum(runs) != height * width:
        return f"the mask's runs have {sum(runs)} pixels, its size {height}×{width} others"
    return "" if any(runs[1::2]) else "the mask is empty"


def _run_lengths(counts: str) -> list[int] | None:
    """Lengths of the runs of 0, 1, 0, ...; None if it is no RLE.

    As ``rleFrString`` in maskApi.c of cocoapi: five bits a character, the lowest first, a sixth
    says that there are more; from the fourth run on it is the difference to the last but one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs
