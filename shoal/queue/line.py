"""The line: which queued job starts next.

Priorities are strict, but one of every ``LOW_EVERY`` starts is of a low one. Within a priority,
sources (a batch, a rule, the single submissions of a token) take turns by weight, as in start-time
fair queueing (Goyal, Vin and Cheng, 1996): a source has a virtual time, the lowest is served, and
each start costs it 1 / weight. A source that had nothing to do gets no credit for that.

Each source has a list of ids that is an RQ queue, ``rq:queue:<queue>:<priority>:<source>``,
so RQ's tools show what waits. The list of earlier releases, ``rq:queue:<queue>``, is that of single
submissions without a token, with jobs that go first at its head: workers and APIs of an earlier
release can use it at the same time.

Keys, below ``<queue>:line``: ``<priority>`` a sorted set of sources by virtual time,
``<priority>:idle`` of sources that do not wait and are ahead, ``<priority>:shares`` a hash of
weights and limits, ``clock`` a hash of virtual times, ``front`` a set of the ids that go first,
``running:<source>`` a set of ids where the number is limited, ``limited`` those sources, ``wake``
a list that idle workers wait at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import to_json
from redis import Redis
from redis.client import Pipeline

from shoal.model.record import Record, text
from shoal.model.share import Level, Share
from shoal.queue import line_scripts as scripts

LOW_EVERY = 20  # starts, of which one is of a low priority
WAKE_KEPT = 100  # workers that may be woken at once
RQ_QUEUES = "rq:queues"  # RQ's set of the keys of all queues


class Line:
    """Ids in the order in which their jobs start. The records are the caller's.

    Args:
        name: of the queue.
        key: of RQ's list for it.
        transit: key of the list of ids that were taken and are not started yet.
        leases: key of the leases.
    """

    def __init__(self, redis: Redis, name: str, *, key: str, transit: str, leases: str) -> None:
        self.redis = redis
        self.key = key
        self.transit = transit
        self._leases = leases
        self._jobs = f"{name}:job:"
        self._own = f"{name}:line"
        self._take = redis.register_script(scripts.TAKE)
        self._oldest = redis.register_script(scripts.OLDEST)
        self._held = redis.register_script(scripts.HELD)
        self._heal = redis.register_script(scripts.HEAL)

    # --- workers ---------------------------------------------------------------------------------

    def take(self, wait_s: float = 0.0) -> bytes | None:
        """Move the next id to the intermediate list, in one atomic step.

        Args:
            wait_s: how long to wait for one.
        """
        taken = self._try_take()
        if taken is None and wait_s:
            self.redis.blpop([f"{self._own}:wake"], wait_s)
            taken = self._try_take()
        return taken

    def _try_take(self) -> bytes | None:
        found: bytes | None = self._take(keys=[self._own, self.key, self.transit], args=[LOW_EVERY])
        return found

    # --- inside a transaction --------------------------------------------------------------------

    def push(self, pipe: Pipeline, record: Record, *, at_head: bool = False) -> None:
        """Put a job into the line: at the end of its source, or before all others ("front")."""
        share = record.share
        at_head |= record.priority == "front"
        if self._is_first(record):
            key = self.key
            pipe.sadd(f"{self._own}:front", record.id)
        else:
            key = self._list(share)
            level = f"{self._own}:{share.priority}"
            if share.source or share.priority != Level.NORMAL:
                pipe.zadd(level, {share.source: 0}, nx=True)  # a take moves it up to the clock
            if share.source:  # what the newest job says is in force
                pipe.hset(f"{level}:shares", share.source, f"{share.weight}:{share.max_running}")
        pipe.sadd(RQ_QUEUES, key)
        if at_head:
            pipe.lpush(key, record.id)
        else:
            pipe.rpush(key, record.id)
        self._wake(pipe)

    def remove(self, pipe: Pipeline, record: Record) -> None:
        """Take a waiting job out of the line.

        From the end: a batch is cancelled from there, and a long list is not searched each time.
        """
        if self._is_first(record):
            pipe.srem(f"{self._own}:front", record.id)
            pipe.lrem(self.key, 1, record.id)
        else:
            pipe.lrem(self._list(record.share), -1, record.id)

    def move(self, pipe: Pipeline, before: Record, after: Record) -> None:
        """Change the place of a waiting job; one that a worker is just taking stays with it."""
        commands = self.redis.pipeline()
        self.push(commands, after)
        key = self.key if self._is_first(before) else self._list(before.share)
        pipe.srem(f"{self._own}:front", before.id)
        pipe.eval(scripts.MOVE, 1, key, before.id, to_json(as_words(commands_of(commands))))

    def release(self, pipe: Pipeline, record: Record) -> None:
        """A job does not run any more, or was not started: the next of its source may."""
        source = record.share.source
        if source:
            pipe.eval(scripts.RELEASE, 1, self._own, source, record.id, *Level)

    def drop(self, pipe: Pipeline, job_id: str) -> None:
        """Remove an id of which nothing is known from where it may be."""
        for key in self.lists():
            pipe.lrem(key, 0, job_id)
        pipe.srem(f"{self._own}:front", job_id)

    def _wake(self, pipe: Pipeline) -> None:
        pipe.rpush(f"{self._own}:wake", "")
        pipe.ltrim(f"{self._own}:wake", 0, WAKE_KEPT - 1)

    # --- what waits ------------------------------------------------------------------------------

    def lists(self) -> list[str]:
        """Keys of the lists there may be, by priority."""
        members: Any = self.redis.smembers(RQ_QUEUES)
        places = {f"{self.key}:{level}": n for n, level in enumerate(Level)}
        found = [(1, "", self.key)]
        for key in map(text, members):
            for prefix, place in places.items():
                if key == prefix or key.startswith(f"{prefix}:"):
                    found.append((place, key, key))
        return [key for _, _, key in sorted(found)]

    def ahead(self, record: Record) -> int:
        """How many jobs start before a waiting one, as the line is now."""
        execute: Any = self.redis.execute_command  # untyped
        found: int = execute(*self.ahead_command(record))
        return found

    def ahead_command(self, record: Record) -> tuple[Any, ...]:
        """The command whose answer is ``ahead``."""
        first = "1" if self._is_first(record) else ""
        share = record.share
        names = (share.priority.value, share.source, record.id, first, LOW_EVERY)
        return ("EVAL", scripts.AHEAD, 2, self._own, self.key, *names)

    def oldest(self) -> float | None:
        """Since when the longest waiting of those that are next in their sources waits."""
        found: Any = self._oldest(keys=self.lists(), args=[self._jobs])
        return float(found) if found is not None else None

    def held(self) -> int:
        """How many wait for others of their source to end, whatever workers are free."""
        found: int = self._held(keys=[self._own, self.key], args=list(Level))
        return found

    def heal(self) -> None:
        """Free the places of jobs that do not run: a worker of an earlier release frees none."""
        sources: Any = self.redis.smembers(f"{self._own}:limited")
        for source in map(text, sources):
            self._heal(keys=[self._own, self._leases, self.transit], args=[source, *Level])

    def _list(self, share: Share) -> str:
        if not share.source:
            is_usual = share.priority == Level.NORMAL
            return self.key if is_usual else f"{self.key}:{share.priority}"
        return f"{self.key}:{share.priority}:{share.source}"

    @staticmethod
    def _is_first(record: Record) -> bool:
        """Those of a limited source stay with it: they go before its others only."""
        return record.priority == "front" and not record.share.max_running


def commands_of(pipe: Pipeline) -> list[Sequence[Any]]:
    """What was put into a pipeline."""
    return [command for command, _ in pipe.command_stack]


def as_words(commands: Iterable[Sequence[Any]]) -> list[list[str]]:
    """Commands for a script to run, which takes them as JSON."""
    return [[each if isinstance(each, str) else word(each) for each in command]
            for command in commands]  # fmt: skip


def word(value: Any) -> str:
    """A word of a command, as the client would write it."""
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str) else repr(value)
