"""Every kind of output, and the class that makes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from shoal.model.outputs import AnyOutput, Crops, Masks, Overlay, Redact, WebmAlpha
from shoal.results import formats
from worker.outputs.base import Made, Notes, Output, Scene, Stream, StreamNeeds
from worker.outputs.crops import CropsOutput
from worker.outputs.cutouts import CutoutsOutput
from worker.outputs.frames import FramesSink
from worker.outputs.join import join_tables
from worker.outputs.masks import MasksOutput, MasksSink
from worker.outputs.overlay import OverlayOutput
from worker.outputs.redact.output import RedactOutput


class DerivedOutput(Output[AnyOutput]):
    """A format that is made of the tables alone."""

    def finish(self, made: Made, path: Path) -> Path:
        formats.write(self.options.kind, made.tables, path)
        return path


# Kinds that are not here are derived.
CLASSES: dict[type[AnyOutput], type[Output[Any]]] = {
    Overlay: OverlayOutput,
    Masks: MasksOutput,
    Crops: CropsOutput,
    WebmAlpha: CutoutsOutput,
    Redact: RedactOutput,
}


def outputs_of(scene: Scene) -> list[Output[Any]]:
    """The outputs that a job asks for, in the order of its options."""
    wanted = scene.spec.options.outputs
    return [CLASSES.get(type(each), DerivedOutput)(each, scene) for each in wanted]


def streams_of(scene: Scene, outputs: Sequence[Output[Any]]) -> list[Stream]:
    """What is written frame by frame: the streams of the outputs, and the tables always."""
    tables = [
        Stream(
            "masks",
            "masks.parquet",
            lambda path: MasksSink(path, scene.info),
            join_tables,
            StreamNeeds.FRAME,
        ),
        Stream("frames", "frames.parquet", FramesSink, join_tables, StreamNeeds.FRAME),
    ]
    return [stream for output in outputs for stream in output.streams()] + tables


def draws(outputs: Iterable[AnyOutput]) -> bool:
    """Whether any of them has a stream that needs more than ``StreamNeeds.FRAME``."""
    return any(
        isinstance(each, Crops | Redact | WebmAlpha)
        or (isinstance(each, Overlay) and each.rate != "original")
        for each in outputs
    )


def notes_of(outputs: Iterable[AnyOutput]) -> list[Notes]:
    """By which they are drawn."""
    found = [CLASSES.get(type(each), DerivedOutput).notes(each) for each in outputs]
    return [each for each in found if each]


def keeps_hdr(outputs: Iterable[AnyOutput]) -> bool:
    """Whether any of them needs the pictures of an HDR source as they are."""
    return any(isinstance(each, Overlay) and each.hdr == "keep" for each in outputs)
