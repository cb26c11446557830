"""The commands for automatic ingest: rules, bucket events, reconciliation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoal import formatting
from shoal.cli import output
from shoal.cli.session import Json, session_of
from shoal.errors import InvalidRules
from shoal.exits import Exit
from shoal.settings import Settings, get_settings

if TYPE_CHECKING:
    from shoal.ingest.rules import Rules

rules = typer.Typer(help="Check the rules that turn uploads into jobs.", no_args_is_help=True)
events = typer.Typer(help="Inspect bucket events.", no_args_is_help=True)


@rules.callback()
def _rules() -> None:
    """Check the rules that turn uploads into jobs."""


@events.callback()
def _events() -> None:
    """Inspect bucket events."""


@rules.command()
def check(
    ctx: typer.Context,
    uri: Annotated[
        str, typer.Argument(metavar="[URI]", help="URI of an upload; it need not exist.")
    ] = "",
    file: Annotated[
        Path | None, typer.Option("--rules", envvar="SHOAL_RULES", help="Path of the rules file.")
    ] = None,
    json: Json = False,
) -> None:
    """Validate the rules file, or show how it applies to an upload. Works without an API."""
    from shoal.ingest.rules_file import load

    if file is None:
        raise InvalidRules(["no rules file: use --rules or set SHOAL_RULES"])
    settings = get_settings()
    loaded = load(file, settings)
    if uri:
        explanation = explain(uri, loaded, settings)
        _show(explanation, session_of(ctx).json)
        if explanation["outcome"] != "job":
            raise typer.Exit(Exit.REFUSED)
    elif session_of(ctx).json:
        output.print_json({"rules": loaded.items})
    else:
        output.out.print(f"{formatting.counted(len(loaded.items), 'rule')}, no errors")


def explain(uri: str, loaded: Rules, settings: Settings) -> dict[str, Any]:
    """Whether an upload becomes a job, and the verdict of each rule up to the first match."""
    from shoal.ingest.decide import Skip, UploadedObject, judge

    considered: list[dict[str, str]] = []
    for rule in loaded.items:
        miss = rule.misses(uri)
        considered.append({"rule": rule.name, "verdict": miss or "matches"})
        if not miss:
            break
    found = judge(UploadedObject(uri), loaded, settings)
    answer: dict[str, Any] = {"uri": uri, "rules": considered}
    if isinstance(found, Skip):
        return answer | {"outcome": "skipped", "reason": found.reason, "detail": found.detail}
    options = found.options.model_dump(exclude_defaults=True)
    spec = {"prompts": found.prompts, "options": options, "results": found.results}
    return answer | {"outcome": "job", **spec, "callback": loaded.callback_of(uri)}


def _show(explanation: dict[str, Any], json: bool) -> None:
    if json:
        output.print_json(explanation)
        return
    for each in explanation["rules"]:
        output.out.print(f"{each['rule']}: {each['verdict']}", markup=False)
    if explanation["outcome"] == "skipped":
        detail = explanation["detail"] and f" ({explanation['detail']})"
        output.out.print(f"no job: {explanation['reason']}{detail}", markup=False)
        return
    options = ", ".join(f"{name} {value}" for name, value in explanation["options"].items())
    facts: dict[str, Any] = {
        "prompts": ", ".join(explanation["prompts"]),
        "options": options,
        "results": explanation["results"],
        "callback": explanation["callback"],
    }
    output.out.print(output.facts(facts))


@events.command()
def skipped(ctx: typer.Context, json: Json = False) -> None:
    """List bucket uploads that were not processed, and why."""
    session = session_of(ctx)
    with session.connect() as client:
        found = client.skipped()
    if session.json:
        output.print_json(found)
        return
    if not found.items:
        output.err.print("no uploads skipped")
        return
    grid = output.table("time", "sender", "reason", "upload", "detail")
    for item in found.items:
        cells = (item.sender, item.reason, item.uri, item.detail)
        grid.add_row(formatting.ago(item.at), *(output.printable(cell) for cell in cells))
    output.out.print(grid)
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(found.counts.items()))
    output.err.print(f"total: {counts}")


def reconcile(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List missing videos without queueing them.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Also queue videos that were queued before the prompts or options of their rule "
            "were changed.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Queue all videos that match a rule and have neither a job nor results."""
    session = session_of(ctx)
    queued, page = [], None
    with session.connect() as client:
        for page in client.reconcile(dry_run=dry_run, again=again):
            queued += page.queued if session.json else []
            for found in () if session.json else page.queued:
                output.out.print(output.printable(found.uri), markup=False, soft_wrap=True)
    if page is None:
        return
    if session.json:
        output.print_json(page.model_dump() | {"queued": queued})
        return
    for where, why in page.unreadable.items():
        output.err.print(f"cannot list {where}: {why}", markup=False)
    did = "would be queued" if dry_run else "queued"
    scanned = f"{formatting.counted(page.objects, 'file')} scanned, {page.matched} matched a rule"
    output.err.print(f"{scanned}, {page.missing} {did}")
    if page.changed and not again:
        videos = formatting.counted(page.changed, "video was", "videos were")
        output.err.print(
            f"{videos} queued before their rule was changed; 'shoal reconcile --again' queues them "
            "with the rule as it is now"
        )
