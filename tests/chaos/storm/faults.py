"""How each fault of a plan begins and ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import redis

from tests.chaos.storm.plan import NET_FAULTS, Step
from tests.chaos.storm.proxy import NetFault
from tests.chaos.storm.system import Member, System
from tests.running import eventually


@contextmanager
def fault(system: System, step: Step) -> Iterator[None]:
    """In force within the block."""
    lane, _, target = step.target.partition(" ")
    if step.kind in set(NET_FAULTS):
        process, _, server = target.partition(" ")
        link = system.link(process, server)
        link.set_fault(NetFault(step.kind))
        yield
        link.set_fault(None)
    elif lane == "clock":
        member = system.members[target]
        member.clock.write_text(str(step.amount))
        yield
        member.clock.write_text("0")
    elif lane in system.members:
        member = system.members[lane]
        member.check()
        with PROCESS[step.kind](member):
            yield
    else:
        with OTHERS[step.kind](system):
            yield


@contextmanager
def _killed(member: Member) -> Iterator[None]:
    """As a machine that is gone; a new one comes."""
    member.kill()
    yield
    member.start()


@contextmanager
def _terminated(member: Member) -> Iterator[None]:
    member.terminate()
    yield
    member.start()


@contextmanager
def _frozen(member: Member) -> Iterator[None]:
    """The process and its children stand still."""
    stopped = member.all()
    member.send(signal.SIGSTOP, children=True)
    yield
    for process in stopped:
        with suppress(Exception):
            process.send_signal(signal.SIGCONT)


@contextmanager
def _without_model(member: Member) -> Iterator[None]:
    """The model process is killed; the worker starts another."""
    for child in member.all()[1:]:
        member.family.append(child)
        with suppress(Exception):
            child.kill()
    yield


PROCESS: dict[str, Callable[[Member], AbstractContextManager[None]]] = {
    "SIGKILL": _killed,
    "SIGTERM": _terminated,
    "SIGSTOP": _frozen,
    "SIGKILL model": _without_model,
}


@contextmanager
def _out_of_memory(system: System) -> Iterator[None]:
    system.redis.config_set("maxmemory", "1")
    yield
    system.redis.config_set("maxmemory", "0")


@contextmanager
def _disk_full(system: System) -> Iterator[None]:
    """Snapshots fail: a folder is in their place, and no change is accepted."""
    place = system.valkey.folder / "dump.rdb"
    place.mkdir()
    system.redis.config_set("save", "3600 1")
    with suppress(redis.ResponseError):  # one is being made
        system.redis.bgsave()
    yield
    system.redis.config_set("save", "")
    eventually(lambda: not system.redis.info()["rdb_bgsave_in_progress"], "the snapshot to end")
    place.rmdir()


@contextmanager
def _restarted(system: System) -> Iterator[None]:
    system.valkey.stop()
    yield
    system.valkey.start()


@contextmanager
def _hanging(system: System) -> Iterator[None]:
    system.valkey.process.send_signal(signal.SIGSTOP)
    yield
    system.valkey.process.send_signal(signal.SIGCONT)


@contextmanager
def _root_away(system: System) -> Iterator[None]:
    """As a disk that is mounted anew. Nobody may make the folder meanwhile."""
    away = system.data.with_name("data-away")
    system.data.rename(away)
    yield
    if system.data.exists():
        system.made_anew.append(str(list(system.data.rglob("*"))[:5]))
        system.data.rename(system.data.with_name(f"data-made-{time.time_ns()}"))
    away.rename(system.data)


@contextmanager
def _refusing(system: System) -> Iterator[None]:
    """The receiver of webhooks refuses them."""
    system.receiver.answer = (503, {"Retry-After": "1"})
    yield
    system.receiver.answer = (204, {})


OTHERS: dict[str, Callable[[System], AbstractContextManager[None]]] = {
    "OOM": _out_of_memory,
    "MISCONF": _disk_full,
    "restart": _restarted,
    "freeze": _hanging,
    "root away": _root_away,
    "refuses": _refusing,
}
