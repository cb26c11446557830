"""``shoal submit``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from shoal.cli import batches, job_options as opt, output
from shoal.cli.batches import is_pattern
from shoal.cli.ids import SHORT_ID
from shoal.cli.lengths import sampling_notice
from shoal.cli.outputs import read_outputs
from shoal.cli.pointing import parse_removal, parse_sam3, read_exemplars, read_objects
from shoal.cli.session import CliSession, ForEach, Json, session_of
from shoal.cli.sources import uri_of
from shoal.model.job import AUTO, Options
from shoal.model.outputs import prompts_of
from shoal.model.prompts import clean_exemplars, clean_prompts

if TYPE_CHECKING:
    from shoal.model.record import Record


def submit(
    ctx: typer.Context,
    sources: opt.Sources,
    prompt: opt.Prompts = None,
    objects: opt.Objects = None,
    exemplars: opt.Exemplars = None,
    remove_object: opt.RemoveObjects = None,
    max_objects: opt.MaxObjects = None,
    score_threshold: opt.ScoreThreshold = None,
    sample_fps: opt.SampleFps = None,
    track_fps: opt.TrackFps = None,
    max_frames: opt.MaxFrames = None,
    engine: opt.Engine = None,
    sam3: opt.Sam3 = None,
    sequence_fps: opt.SequenceFps = None,
    allow_truncated: opt.AllowTruncated = False,
    deinterlace: opt.DeinterlaceHow = None,
    direction: opt.TrackDirection = None,
    start_frame: opt.StartFrame = None,
    split: opt.SplitInto = None,
    priority: opt.LevelOption = None,
    weight: opt.Weight = 1,
    max_running: opt.MaxRunning = 0,
    callback: opt.Callback = "",
    name: opt.BatchName = "",
    outputs: opt.Outputs = None,
    watch: opt.Watch = False,
    json: Json = False,
) -> None:
    """Submit videos: **shoal submit match.mp4 -p person -p ball --watch**

    A URI with wildcards submits a batch: `shoal submit "gs://bucket/2025/**/*.mp4" -p person`

    A URI that is the name of an object means that object, whatever is in it. To mean a wildcard's
    character itself in a pattern, write it in brackets: `[[]`, `[*]`, `[?]`.
    """
    # Long by its options. All that can be wrong is found before anything is uploaded.
    chosen = {"outputs": read_outputs(outputs) if outputs else (), **parse_sam3(sam3)}
    options = opt.options_of(ctx.params | chosen)
    shown = read_exemplars(exemplars)
    work = _work(prompt, objects, shown, options.get("outputs", ()))
    work |= {"exemplars": shown, "callback": callback, "priority": priority} | options
    removals = [parse_removal(text) for text in remove_object or []]
    if not (name or any(map(is_pattern, sources))):
        if weight != 1 or max_running:
            raise typer.BadParameter("--weight and --max-running are for batches.")
        _submit_each(session_of(ctx), sources, work | {"remove_objects": removals}, watch)
        return
    if removals:
        raise typer.BadParameter("--remove-object cannot be used with a batch.")
    shares = {"name": name, "weight": weight, "max_running": max_running}
    _submit_batch(session_of(ctx), sources, work | shares, watch)


def _work(
    prompt: list[str] | None, objects: Path | None, exemplars: Any, outputs: Any
) -> dict[str, Any]:
    """
    Raises:
        InvalidPrompt, InvalidVisualPrompt
    """
    named = prompts_of(outputs)
    if not prompt and not objects and not exemplars and not named:
        raise typer.BadParameter("Give --prompt, --objects or --exemplars.")
    visual = read_objects(objects)
    given = [*opt.split_prompts(prompt), *named]
    words = clean_prompts(given, may_lack=bool(visual or exemplars))
    clean_exemplars(exemplars, words)
    return {"prompts": words, "objects": visual}


def _submit_each(
    session: CliSession, sources: Sequence[str], work: Mapping[str, Any], watch: bool
) -> None:
    from shoal.cli.watching import exit_for, follow, show_outcomes

    each = ForEach(session)
    decides = Options.model_validate({"sample_fps": AUTO} | {**work}, extra="ignore")
    with session.connect() as client:

        def submit_one(source: str) -> Record:
            if decides.sample_fps == AUTO and not decides.max_frames:
                _show_sampling(source)
            return client.submit(uri_of(client, source), **work)

        each.run(sources, submit_one)
        if watch:
            each.records = follow(client, [record.id for record in each.records])
    each.finish(show_outcomes if watch else _show_submitted)
    if watch:
        exit_for(each.records)


def _submit_batch(
    session: CliSession, sources: Sequence[str], work: Mapping[str, Any], watch: bool
) -> None:
    with session.connect() as client:
        batch = client.batches.submit(
            uris=[uri_of(client, source) for source in sources if not is_pattern(source)],
            globs=filter(is_pattern, sources),
            **work,
        )
        batches.finish(session, client, batch, watch)


def _show_sampling(source: str) -> None:
    if notice := sampling_notice(source):
        output.err.print(Text(output.printable(notice)))


def _show_submitted(records: list[Record]) -> None:
    from shoal.cli.views import show_jobs

    show_jobs(records)
    open_ids = [record.id[:SHORT_ID] for record in records if not record.state.is_final]
    if open_ids:
        output.suggest(f"to watch: shoal watch {' '.join(open_ids)}")
