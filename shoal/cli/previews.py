"""``shoal preview``: what a prompt finds, before a job is submitted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from shoal import formatting
from shoal.cli import output
from shoal.cli.pointing import read_exemplars, read_objects
from shoal.cli.session import Json, session_of
from shoal.cli.sources import uri_of
from shoal.errors import ApiError, StorageNotWritable
from shoal.model.preview import MAX_FRAMES, USUAL_FRAMES, Preview, PreviewState
from shoal.model.prompts import clean_exemplars, clean_prompts

if TYPE_CHECKING:
    from shoal.client.client import Client


def preview(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="Video file (uploaded), or its URI.")],
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", help="What to find, such as person; repeatable."),
    ] = None,
    objects: Annotated[
        Path | None, typer.Option(help="JSON file with visual prompts; see docs/prompts.md.")
    ] = None,
    exemplars: Annotated[
        Path | None, typer.Option(help="JSON file with exemplars; see docs/prompts.md.")
    ] = None,
    frames: Annotated[
        int, typer.Option(min=1, max=MAX_FRAMES, help="Number of frames, spread over the video.")
    ] = USUAL_FRAMES,
    time: Annotated[
        list[float] | None,
        typer.Option(metavar="SECONDS", help="Time of a frame, instead; repeatable."),
    ] = None,
    score_threshold: Annotated[
        float | None,
        typer.Option(help="Minimum score, 0 to 1. [default: what starts a track]"),
    ] = None,
    engine: Annotated[str, typer.Option(help="Engine to use.")] = "auto",
    to: Annotated[
        Path | None, typer.Option(help="Directory for the pictures.", file_okay=False)
    ] = None,
    json: Json = False,
) -> None:
    """Preview a few frames: **shoal preview match.mp4 -p person -p ball --to preview/**

    A connected worker answers within seconds, also while it processes a video.
    """
    if not prompt and not objects and not exemplars:
        raise typer.BadParameter("Give --prompt, --objects or --exemplars.")
    visual, shown = read_objects(objects), read_exemplars(exemplars)
    prompts = clean_prompts(prompt or [], may_lack=bool(visual or shown))
    clean_exemplars(shown, prompts)
    session = session_of(ctx)
    with session.connect() as client:
        found = client.previews.make(
            uri_of(client, source),
            prompts,
            objects=visual,
            exemplars=shown,
            frames=frames,
            times_s=time or (),
            score_threshold=score_threshold,
            engine=engine,
            draw=to is not None,
        )
        saved = _save(client, found, to) if to else []
    if found.state == PreviewState.FAILED and found.error:
        error = found.error
        raise ApiError(error.message, status=422, code=error.code, hint=error.hint)
    if session.json:
        output.print_json({**found.model_dump(mode="json"), "files": saved})
    else:
        _show(found, saved)


def _save(client: Client, found: Preview, to: Path) -> list[Path]:
    """
    Raises:
        StorageNotWritable
    """
    stem = output.video_name(found.uri).rpartition(".")[0] or "preview"
    saved = []
    try:
        to.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(found.frames):
            path = to / f"{stem}_{frame.frame:08d}.jpg"
            path.write_bytes(client.previews.picture(found, number))
            saved.append(path)
    except OSError as error:
        hint = "Choose another directory, or free disk space."
        raise StorageNotWritable(f"cannot write {to}: {error.strerror}", hint=hint) from error
    return saved


def _show(found: Preview, saved: list[Path]) -> None:
    """One line for each prompt on each frame."""
    grid = output.table("time", "frame", "found", "scores", right=("time", "frame"))
    for frame in sorted(found.frames, key=lambda each: each.time_s):
        where = [formatting.position(frame.time_s), str(frame.frame)]
        by_prompt: dict[str, list[float]] = {}
        for each in frame.objects:
            by_prompt.setdefault(each.prompt, []).append(each.score)
        for prompt, scores in by_prompt.items():
            what = Text(f"{len(scores)} × {prompt}")
            grid.add_row(*where, what, _scores(scores))
            where = ["", ""]
        if not by_prompt:
            grid.add_row(*where, Text("nothing", style="dim"), "")
    output.out.print(grid)
    for path in saved:
        output.out.print(str(path), markup=False)


def _scores(scores: list[float]) -> str:
    best, *others = sorted(scores, reverse=True)
    return f"{best:.2f}" if not others else f"{best:.2f} to {others[-1]:.2f}"
