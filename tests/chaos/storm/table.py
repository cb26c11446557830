"""What a storm came to, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.report import machine, print_table
from tests.chaos.storm.invariants import Kind
from tests.chaos.storm.round import Outcome


def print_round(outcome: Outcome) -> None:
    ended = ", ".join(f"{n} {state}" for state, n in sorted(outcome.states.items()))
    count = len(outcome.violations)
    print(
        f"round {outcome.plan.seed}, results in {outcome.plan.results}: {outcome.seconds:.0f} s, "
        f"{outcome.faults.total()} faults; {ended}; {count} violations",
        flush=True,
    )
    for violation in outcome.violations:
        print(f"  {violation}", flush=True)


def print_storm(seed: str, outcomes: Sequence[Outcome]) -> None:
    seconds = sum(outcome.seconds for outcome in outcomes)
    print(f"\nseed {seed}, {len(outcomes)} rounds, {seconds / 60:.1f} minutes")
    print(machine(("redis", "rq", "boto3", "google-cloud-storage")) + "\n")
    found = Counter(each.kind for outcome in outcomes for each in outcome.violations)
    tables = {
        "fault": sum((outcome.faults for outcome in outcomes), Counter()),
        "request: answer": sum((outcome.requests for outcome in outcomes), Counter()),
        "attempt": sum((outcome.attempts for outcome in outcomes), Counter()),
        "failed with": sum((outcome.failures for outcome in outcomes), Counter()),
        "video": sum((outcome.states for outcome in outcomes), Counter()),
        "webhook": Counter({"arrived": sum(outcome.webhooks for outcome in outcomes)}),
        "violation": Counter({kind.value: found[kind] for kind in Kind}),
    }
    for name, counts in tables.items():
        rows = [(key, str(count)) for key, count in sorted(counts.items())]
        print_table((name, "n"), [*rows, ("all", str(counts.total()))])
        print()
