"""New jobs in Redis: any number in one call, each unless it is there already.

Senders of events wait for it: a transaction for each would be four round trips.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypedDict

from shoal.jobs import State
from shoal.records import Record, Records
from shoal.rq_entry import EntryTemplate

# For each key what its hash holds; where there is none, the commands given for it are run.
CREATE = """
local answers = {}
for i, key in ipairs(KEYS) do
  local found = redis.call('HGETALL', key)
  if #found == 0 then
    for _, command in ipairs(cjson.decode(ARGV[i])) do redis.call(unpack(command)) end
  end
  answers[i] = found
end
return answers
"""


class Call(TypedDict):
    """Keys and arguments of ``CREATE``."""

    keys: list[str]
    args: list[str]


class Creation:
    """What ``CREATE`` is called with, and what its answers mean."""

    def __init__(self, records: Records, entries: EntryTemplate) -> None:
        self._records = records
        self._entries = entries

    def call(self, new: Sequence[Record]) -> Call:
        """What writes new records and queues their jobs."""
        return Call(
            keys=[self._records.key(each.id) for each in new],
            args=[self._commands(each) for each in new],
        )

    def _commands(self, new: Record) -> str:
        """As JSON, which one argument is enough for: the client takes its time over each."""
        pipe = self._records.redis.pipeline()
        self._records.write(pipe, new)
        self._records.tell(pipe, new.id, "queued")
        self._entries.push(pipe, new.id)
        return json.dumps([list(map(_word, command)) for command, _ in pipe.command_stack])

    @staticmethod
    def answer(new: Record, found: list[Any], again: bool) -> tuple[Record, bool] | None:
        """What submitting comes to, given what was found; ``None`` where there is more to do."""
        if not found:
            return new, True
        known = Record.from_fields(dict(zip(found[::2], found[1::2], strict=True)))
        ended = known.state in (State.FAILED, State.CANCELLED)
        is_told = set(new.callbacks) <= set(known.callbacks) and set(new.batches) <= set(
            known.batches
        )
        return (known, False) if is_told and not (again and ended) else None


def _word(value: Any) -> str:
    """A word of a command, as the client would write it."""
    return value if isinstance(value, str) else repr(value)
