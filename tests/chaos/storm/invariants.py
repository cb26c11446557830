"""What must be true when a storm is over, whatever went wrong meanwhile."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from shoal.model.batch import BatchStatus
from shoal.model.job import State
from shoal.model.record import Record, TimelineEvent
from shoal.queue.indexes import ENDED, _names
from shoal.results.layout import metadata_name, result_uri
from tests.chaos.storm.evidence import Content, Evidence
from tests.chaos.storm.ledger import Entry, Ledger, Wish

FINAL = tuple(state.value for state in State if state.is_final)
NEAR_S = 1.0  # between the time in a record and that of its event: two reads of one clock
# What attempts may fail with: the storage was away, or the model process was killed.
CAUSES = {"storage_unavailable", "storage_throttled", "model_process_died", "poisonous_video"}
ATTEMPTS_KEPT = 20  # by the product, of each job

# Keys that stay when nothing is left to do; {id} is that of a job that there is.
KEPT = re.compile(
    r"""shoal:(
        (job|timeline|attempts):(?P<id>[0-9a-f]{24})
        | (jobs|callbacks)(:.*)? | callback:msg_[0-9a-f]{32}
        | batches | batch:[0-9a-f]{24}(:totals|:skips)?
        | ended | causes | totals | history | folders | expiry | result-sizes
        | line:(?!running).*
    ) | rq:queues""",
    re.VERBOSE,
)


class Kind(StrEnum):
    """Of violations."""

    FINAL = "final state"
    RESULTS = "results"
    CANCEL = "cancel undone"
    BOOKS = "books"
    WEBHOOKS = "webhooks"
    LEFT = "left over"
    CONDUCT = "conduct"  # a process ended by itself, a root was made anew, a fault has no name


@dataclass(frozen=True)
class Violation:
    kind: Kind
    about: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.about}"


def violations(
    found: Evidence, ledger: Ledger, reference: Mapping[str, Content]
) -> list[Violation]:
    """
    Args:
        reference: what an undisturbed run gives, by job.
    """
    checks: dict[Kind, Callable[[], Iterator[str]]] = {
        Kind.FINAL: lambda: _final_states(found, ledger),
        Kind.RESULTS: lambda: _results(found, reference),
        Kind.CANCEL: lambda: _cancels(found, ledger),
        Kind.BOOKS: lambda: _books(found, ledger),
        Kind.WEBHOOKS: lambda: _webhooks(found, ledger),
        Kind.LEFT: lambda: _left(found),
        Kind.CONDUCT: lambda: _conduct(found),
    }
    return [Violation(kind, about) for kind, check in checks.items() for about in check()]


# --- states --------------------------------------------------------------------------------------


def _final_states(found: Evidence, ledger: Ledger) -> Iterator[str]:
    """Each video that was submitted has a record, in one final state that nothing followed."""
    known = {entry.job for entry in ledger.entries if entry.asked}
    for entry in ledger.entries:
        if entry.accepted and not entry.dropped and entry.job not in found.records:
            yield f"{entry.job} was accepted, and there is no record"
    for job, record in found.records.items():
        if job not in known:
            yield f"{job} was submitted by nobody: {record.spec.uri}"
        if not record.state.is_final:
            yield f"{job} is {record.state}"
        events = [each for each in found.timelines[job] if each.event != "priority"]
        if not events or events[-1].event != record.state:
            yield f"{job} is {record.state}, its timeline ends with {_shown(events[-3:])}"
        for one, other in pairwise(events):
            if one.event in FINAL and other.event != "queued":
                yield f"{job} was {one.event}, then {other.event}: {_shown(events)}"


def _shown(events: list[TimelineEvent]) -> str:
    return ", ".join(f"{each.at:.1f} {each.event}" for each in events)


def _cancels(found: Evidence, ledger: Ledger) -> Iterator[str]:
    """A confirmed cancellation holds, unless the video had been published already; nobody begins
    anew with it. Nothing is cancelled that nobody wanted to be."""
    for entry in ledger.entries:
        record = found.records.get(entry.job)
        if record is None or entry.in_doubt or entry.dropped:
            continue
        if entry.wish is Wish.DONE and record.state == State.CANCELLED:
            yield f"{entry.job} was cancelled by nobody: {_story(found, entry)}"
        if entry.wish is not Wish.CANCELLED:
            continue
        if record.attempt != entry.cancelled_at_attempt:
            yield f"{entry.job} was begun anew: {_story(found, entry)}"
        elif record.state not in (State.CANCELLED, State.SUCCEEDED):
            yield f"{entry.job} is {record.state}: {_story(found, entry)}"


def _story(found: Evidence, entry: Entry) -> str:
    return (
        f"cancelled at attempt {entry.cancelled_at_attempt}, {_shown(found.timelines[entry.job])}"
    )


# --- results -------------------------------------------------------------------------------------


def _results(found: Evidence, reference: Mapping[str, Content]) -> Iterator[str]:
    """A video that succeeded has one complete set; no other one shows as complete, but where a
    worker was lost, which may have been just about to publish it."""
    owners = {record.spec.results_prefix: job for job, record in found.records.items()}
    for job, record in found.records.items():
        there = {uri for uri in found.files if uri.startswith(record.spec.results_prefix)}
        if record.state == State.SUCCEEDED:
            named = {result_uri(record.spec, name): n for name, n in record.results.items()}
            if there != named.keys():
                yield f"{job} has {sorted(there)} and names {sorted(named)}"
            elif any(found.files[uri] != size for uri, size in named.items()):
                yield f"{job}: sizes differ from those in its record"
            yield from _content(job, found.contents.get(job), reference[job])
        elif result_uri(record.spec, metadata_name(record.spec)) in there and not any(
            each.outcome == "lost" for each in found.attempts[job]
        ):
            yield f"{job} is {record.state} and its results show as complete"
    for uri in found.files:
        folder = uri.rpartition("/")[0] + "/"
        if folder not in owners and "/.parts/" not in uri:
            yield f"{uri} belongs to no video"


def _content(job: str, content: Content | None, wanted: Content) -> Iterator[str]:
    if content is None:
        yield f"{job}: its results cannot be read"
        return
    for name in ("masks", "frames", "times"):
        got, right = getattr(content, name), getattr(wanted, name)
        if got != right:
            at = next((n for n, (a, b) in enumerate(zip(got, right)) if a != b), "the end")  # noqa: B905
            yield f"{job}: {name} differ from {at} on; {len(got)} of {len(right)}"


# --- books ---------------------------------------------------------------------------------------


def _books(found: Evidence, ledger: Ledger) -> Iterator[str]:
    """Indexes, sums and batches say what the records say."""
    yield from _indexes(found)
    yield from _sums(found)
    single = {entry.job for entry in ledger.entries if entry.single}
    for batch in found.batches:
        yield from _batch(found, batch, single)


def _indexes(found: Evidence) -> Iterator[str]:
    wanted: dict[str, set[str]] = {}
    for job, record in found.records.items():
        for name in (*_names(record), *([ENDED] if record.state.is_final else ())):
            wanted.setdefault(name, set()).add(job)
    for name in sorted(wanted.keys() | found.indexes.keys()):
        right, got = wanted.get(name, set()), found.indexes.get(name, set())
        if right != got:
            yield f"{name} lacks {sorted(right - got)}, has besides {sorted(got - right)}"


def _sums(found: Evidence) -> Iterator[str]:
    events = [each for timeline in found.timelines.values() for each in timeline]
    for state in FINAL:
        ended = sum(each.event == state for each in events)
        counted = sum(n for k, n in found.totals.items() if f"{k}:".startswith(f"jobs:{state}:"))
        if counted != ended:
            yield f"{ended} times a video was {state}, counted {counted:.0f}"
    attempts = Counter(each.outcome for some in found.attempts.values() for each in some)
    if all(record.attempt <= ATTEMPTS_KEPT for record in found.records.values()):
        yield from _attempt_sums("all", attempts, found.totals)
    for job, record in found.records.items():
        numbers = [each.number for each in found.attempts[job]]
        if numbers != list(range(1, record.attempt + 1))[-ATTEMPTS_KEPT:]:
            yield f"{job} began {record.attempt} times, its attempts are {numbers}"


def _attempt_sums(name: str, attempts: Counter[str], totals: Mapping[str, float]) -> Iterator[str]:
    counted = {
        k.removeprefix("attempts:"): int(n) for k, n in totals.items() if k.startswith("attempts:")
    }
    if counted != dict(attempts):
        yield f"attempts of {name}: {dict(attempts)}, counted {counted}"


def _batch(found: Evidence, batch: BatchStatus, single: set[str]) -> Iterator[str]:
    mine = [record for record in found.records.values() if batch.id in record.batches]
    states = Counter(record.state for record in mine)
    if not batch.is_over:
        yield f"batch {batch.id} is {batch.state}"
    if batch.error or batch.rejected or batch.skipped:
        yield f"batch {batch.id}: {batch.error}, {batch.rejected}, {batch.skipped}"
    if batch.videos != len(mine) or Counter(batch.counts) != states:
        yield f"batch {batch.id} counts {batch.counts}, there are {dict(states)}"
    if batch.state == "finished" and not batch.objects_seen == batch.uris == len(mine):
        yield f"batch {batch.id} saw {batch.objects_seen} of {batch.uris}, has {len(mine)}"
    # What a video had behind it when it came into the batch is none of the batch's.
    if all(record.batches == [batch.id] and record.id not in single for record in mine):
        attempts = Counter(each.outcome for r in mine for each in found.attempts[r.id])
        yield from _attempt_sums(f"batch {batch.id}", attempts, found.batch_totals[batch.id])


# --- webhooks ------------------------------------------------------------------------------------


def _webhooks(found: Evidence, ledger: Ledger) -> Iterator[str]:
    """Who asked is told of the end, and of nothing that was none."""
    ends = {
        job: {(each.event, round(each.at)) for each in timeline if each.event in FINAL}
        for job, timeline in found.timelines.items()
    }
    for message in found.messages:
        near = {round(message.finished_at + step) for step in (-NEAR_S, 0, NEAR_S)}
        if not any((message.state, at) in ends.get(message.job, ()) for at in near):
            yield f"{message.job} was told to be {message.state}, and was not: {message}"
    told = {(each.job, each.url, each.state, each.finished_at) for each in found.messages}
    for entry, hook in _hooks(found, ledger):
        record = found.records.get(entry.job)
        if record and (record.id, _path(hook), record.state, record.finished_at) not in told:
            yield f"{record.id} is {record.state}, and {hook} was not told"


def _hooks(found: Evidence, ledger: Ledger) -> Iterator[tuple[Entry, str]]:
    for entry in ledger.entries:
        for hook in entry.hooks:
            yield entry, hook
    for batch in ledger.batches:
        for entry in batch.entries:
            record: Record | None = found.records.get(entry.job)
            if record and batch.id in record.batches:
                yield entry, batch.hook


def _path(url: str) -> str:
    return "/" + url.split("/", 3)[3]


# --- leftovers -----------------------------------------------------------------------------------


def _left(found: Evidence) -> Iterator[str]:
    yield from found.left
    for uri in found.files:
        if "/.parts/" in uri:
            yield uri
    for key in found.keys:
        match = KEPT.fullmatch(key)
        if match is None or (match["id"] and match["id"] not in found.records):
            yield f"key {key}"


# --- conduct -------------------------------------------------------------------------------------


def _conduct(found: Evidence) -> Iterator[str]:
    yield from found.events
    for job, attempts in found.attempts.items():
        for each in attempts:
            if each.error and each.error.code not in CAUSES:
                yield f"{job} failed with {each.error.code}: {each.error.message}"
