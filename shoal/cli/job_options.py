"""The options of ``shoal submit``, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

import typer
from pydantic import ValidationError

from shoal.cli.completion import complete_engine, complete_kind
from shoal.errors import InvalidOption
from shoal.model.job import AUTO, Deinterlace, Direction, Options
from shoal.model.share import MAX_WEIGHT, Level

if TYPE_CHECKING:
    from shoal.client.options import JobOptions


def _sample_fps(text: str) -> float | str:
    return AUTO if text == AUTO else float(text)


Sources: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Video files or folders of frames (uploaded), URIs or URLs; wildcards make a batch.",
    ),
]
Prompts: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--prompt", "-p", help="What to find, such as person or person,dog; repeatable."),
]
Objects: TypeAlias = Annotated[
    Path | None, typer.Option(help="JSON file with visual prompts; see docs/prompts.md.")
]
Exemplars: TypeAlias = Annotated[
    Path | None, typer.Option(help="JSON file with boxes around examples; see docs/prompts.md.")
]
RemoveObjects: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="ID[@FRAME]", help="Exclude an object from the results; repeatable."),
]
SplitInto: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="off|auto|N",
        help="Cut a long video into segments for several workers. [default: off]",
    ),
]
LevelOption: TypeAlias = Annotated[
    Level | None, typer.Option(help="Priority. [default: that of the token, else normal]")
]
Weight: TypeAlias = Annotated[
    int, typer.Option(min=1, max=MAX_WEIGHT, help="Turns of a batch, relative to others.")
]
MaxRunning: TypeAlias = Annotated[
    int, typer.Option(min=0, help="Videos of a batch that run at once; 0 = unlimited.")
]
Callback: TypeAlias = Annotated[
    str, typer.Option(metavar="URL", help="Webhook URL to notify when the job ends.")
]
BatchName: TypeAlias = Annotated[
    str,
    typer.Option(help="Submit the sources as one batch with this name.", show_default=False),
]
Outputs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="KIND[:OPTION=VALUE,...]",
        help="Output to write; repeatable; see docs/results.md. [default: overlay]",
        autocompletion=complete_kind,
    ),
]
MaxObjects: TypeAlias = Annotated[
    int | None,
    typer.Option(help="Maximum number of objects tracked at once. [default: unlimited]"),
]
ScoreThreshold: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Minimum confidence to start a new track, 0 to 1. [default: engine default]"),
]
SampleFps: TypeAlias = Annotated[
    Any,
    typer.Option(
        metavar="FPS|auto",
        parser=_sample_fps,
        help="Frames to process per second of video; 0 = all frames. auto = all frames of a video "
        "of up to a minute, 1 per second of a longer one. [default: auto; of a batch: 1]",
    ),
]
TrackFps: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Frames to track per second of video, at least; 0 = written frames only. "
        "[default: engine default]"
    ),
]
MaxFrames: TypeAlias = Annotated[
    int | None, typer.Option(help="Maximum number of frames to process. [default: unlimited]")
]
Engine: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Engine to use. [default: auto]", autocompletion=complete_engine),
]
Sam3: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Setting of SAM 3; repeatable; docs/engines.md."),
]
SequenceFps: TypeAlias = Annotated[
    float | None, typer.Option(help="Frame rate of an image sequence. [default: 1]")
]
AllowTruncated: TypeAlias = Annotated[
    bool,
    typer.Option("--allow-truncated", help="Process the readable part of a truncated video."),
]
DeinterlaceHow: TypeAlias = Annotated[
    Deinterlace | None, typer.Option(help="Make interlaced pictures whole. [default: auto]")
]
TrackDirection: TypeAlias = Annotated[
    Direction | None, typer.Option(help="Tracking direction. [default: forward]")
]
StartFrame: TypeAlias = Annotated[
    int | None,
    typer.Option(help="Frame to start tracking at, from 0. [default: first; backward: last]"),
]
Watch: TypeAlias = Annotated[
    bool, typer.Option("--watch", "-w", help="Wait until the jobs have ended.")
]


def options_of(given: dict[str, Any]) -> JobOptions:
    """The options among the parameters that were given, checked before anything is uploaded.

    Raises:
        InvalidOption: names the option of the command line.
    """
    options = {
        name: value
        for name, value in given.items()
        if name in Options.model_fields and value is not None and value is not False and value != ()
    }
    try:
        Options.model_validate(options)
    except ValidationError as error:
        fault = error.errors()[0]
        name = "--" + str(fault["loc"][0]).replace("_", "-") if fault["loc"] else "options"
        raise InvalidOption(f"{name}: {fault['msg']}") from error
    return cast("JobOptions", options)


def split_prompts(given: list[str] | None) -> list[str]:
    """``-p person,dog`` is ``-p person -p dog``, as on the page and in the demo."""
    return [
        part for each in given or [] for part in each.split(",") if part.strip() or each == part
    ]
