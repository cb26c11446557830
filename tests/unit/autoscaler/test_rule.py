"""How many consumers should wait: the rule, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from autoscaler.rule import GROW, HOLD, Limits, Plan, Seen, decide

NOTHING = Seen(queued=0, running=0, machines=0, ready=0, pending=0, started=0)
CAP = Limits(cap=10)


@pytest.mark.parametrize(
    ("seen", "action", "pending"),
    [
        pytest.param(NOTHING, "idle", 0, id="nothing"),
        pytest.param(replace(NOTHING, queued=1), "grow", HOLD, id="first job"),
        pytest.param(replace(NOTHING, queued=2), "grow", GROW, id="first jobs"),
        pytest.param(replace(NOTHING, queued=9, machines=3), "grow", GROW, id="too few"),
        pytest.param(replace(NOTHING, queued=3, machines=3), "hold", HOLD, id="all boot"),
        pytest.param(replace(NOTHING, queued=3, machines=3, ready=2), "hold", 3, id="2 ready"),
        pytest.param(replace(NOTHING, queued=3, machines=3, ready=3), "start", 3, id="all ready"),
        pytest.param(
            Seen(queued=0, running=3, machines=3, ready=3, pending=0, started=3),
            "hold",
            HOLD,
            id="all busy",
        ),
        pytest.param(
            Seen(queued=0, running=9, machines=9, ready=9, pending=0, started=9, target=0),
            "hold",
            GROW,  # the target climbs, below the number of machines
            id="all busy and the target behind",
        ),
        pytest.param(
            Seen(queued=0, running=9, machines=9, ready=9, pending=0, started=9, target=8),
            "hold",
            HOLD,
            id="all busy and the target close",
        ),
        pytest.param(
            Seen(queued=0, running=2, machines=3, ready=3, pending=0, started=3),
            "shrink",
            0,
            id="one idle",
        ),
        pytest.param(
            Seen(queued=0, running=0, machines=2, ready=0, pending=1, started=0),
            "shrink",
            0,
            id="work gone while machines boot",
        ),
    ],
)
def test_pool(seen: Seen, action: str, pending: int) -> None:
    plan = decide(seen, CAP)
    assert (plan.action, plan.pending) == (action, pending)
    assert plan.launch == max(0, pending - seen.pending)
    assert plan.cancel == max(0, seen.pending - pending)


@pytest.mark.parametrize(
    ("seen", "action", "launch", "cancel"),
    [
        pytest.param(replace(NOTHING, queued=4), "grow", 4, 0, id="as many as jobs"),
        pytest.param(replace(NOTHING, queued=4, pending=4), "hold", 0, 0, id="on their way"),
        pytest.param(
            replace(NOTHING, running=1, pending=3, started=1), "shrink", 0, 3, id="work is gone"
        ),
        pytest.param(replace(NOTHING, running=2, started=2), "hold", 0, 0, id="all busy"),
        pytest.param(replace(NOTHING, started=2), "shrink", 0, 0, id="they end by themselves"),
        pytest.param(replace(NOTHING, queued=40, started=8), "grow", 2, 0, id="up to the cap"),
    ],
)
def test_without_a_pool(seen: Seen, action: str, launch: int, cancel: int) -> None:
    plan = decide(replace(seen, pooled=False), CAP)
    assert (plan.action, plan.launch, plan.cancel) == (action, launch, cancel)


def test_jobs_per_worker() -> None:
    assert decide(replace(NOTHING, queued=7), Limits(cap=10, jobs_per_worker=2)).want == 4


def test_the_budget_limits_like_a_cap() -> None:
    limits = Limits(cap=10, price_per_hour=0.3, budget_per_hour=0.9)
    plan = decide(replace(NOTHING, queued=20), limits)
    assert plan.want == 3
    assert "20 machines, the budget of 0.9 per hour allows 3" in plan.reason


def test_a_waiting_consumer_would_take_a_ready_machine_beyond_the_cap() -> None:
    seen = Seen(queued=20, running=1, machines=4, ready=4, pending=0, started=1)
    plan = decide(seen, Limits(cap=1))
    assert (plan.action, plan.pending, plan.drain) == ("shrink", 0, 0)


@pytest.mark.parametrize(("cap", "drain"), [(0, 4), (1, 3), (4, 0), (10, 0)])
def test_consumers_beyond_the_cap_end(cap: int, drain: int) -> None:
    seen = Seen(queued=20, running=4, machines=4, ready=4, pending=0, started=4)
    assert decide(seen, Limits(cap=cap)).drain == drain


def test_a_budget_ends_nobody() -> None:
    seen = Seen(queued=20, running=4, machines=4, ready=4, pending=0, started=4)
    limits = Limits(cap=10, price_per_hour=1, budget_per_hour=2)
    assert decide(seen, limits).drain == 0


@pytest.mark.parametrize("pooled", [True, False])
def test_jobs_of_a_paused_queue_want_nothing(pooled: bool) -> None:
    paused = replace(NOTHING, queued=9, paused=True, pooled=pooled)
    assert decide(paused, CAP).want == 0
    assert decide(paused, CAP).pending == 0
    assert decide(replace(paused, running=2), CAP).want == 2


numbers = st.integers(0, 60)


@st.composite
def situations(draw: st.DrawFn) -> Seen:
    machines = draw(numbers)
    ready = draw(st.integers(0, machines))
    return Seen(
        queued=draw(numbers),
        running=draw(numbers),
        machines=machines,
        ready=ready,
        pending=draw(numbers),
        started=draw(st.integers(0, ready)),
        target=draw(st.none() | numbers),
        pooled=draw(st.booleans()),
        paused=draw(st.booleans()),
    )


@given(situations(), st.integers(0, 40))
def test_whatever_there_is(seen: Seen, cap: int) -> None:
    """One lever, moved one way, and never to grow beyond what is wanted."""
    plan: Plan = decide(seen, Limits(cap=cap))
    assert seen.pending + plan.launch - plan.cancel == plan.pending >= 0
    assert not (plan.launch and plan.cancel)
    assert plan.want <= cap
    assert plan.drain == max(0, seen.started - cap)
    if seen.started >= cap and seen.pooled and seen.ready > seen.started:
        assert plan.pending == 0  # it would get one of the free machines
    if seen.queued + seen.running == 0 or cap == 0:
        assert plan.pending == 0
    if plan.action == "grow" and seen.pooled:
        assert seen.machines < plan.want
