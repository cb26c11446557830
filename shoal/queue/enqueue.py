"""New jobs in Redis: any number in one call, each unless it is there already.

Senders of events wait for it: a transaction for each would be four round trips.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypedDict

from shoal.model.job import State
from shoal.model.record import Record, text
from shoal.queue.line import Line, as_json, commands_of
from shoal.queue.records import Records
from shoal.queue.rq import EntryTemplate
from shoal.queue.unreadable import parsed

DELETED = b"deleted"  # stands for a record: its job was deleted, and nobody wants it back

# For each key what its hash holds, or alone the error that says it is no hash; where there is
# nothing, the commands given for it are run. The last three arguments are the key of the deleted
# jobs, for each key whether it is created though it was deleted, and as JSON for some keys where an
# earlier release put the same job, and its prompts: it stays that job if they have that order.
CREATE = """
local deleted, wanted, answers = ARGV[#KEYS + 1], ARGV[#KEYS + 2], {}
local earlier = cjson.decode(ARGV[#KEYS + 3])

local function id_of(key) return string.match(key, '[^:]+$') end

local function known_earlier(key)
  local old = earlier[key]
  local found = old and redis.pcall('HGETALL', old.key) or {}
  if found.err then return {} end
  for j = 1, #found, 2 do
    local is_spec, spec = pcall(cjson.decode, found[j] == 'spec' and found[j + 1])
    if is_spec and type(spec) == 'table' and type(spec.prompts) == 'table' then
      for k, prompt in ipairs(old.prompts) do
        if spec.prompts[k] ~= prompt then return {} end
      end
      return found
    end
  end
  return {}
end

for i, key in ipairs(KEYS) do
  local found = redis.pcall('HGETALL', key)
  if not found.err and #found == 0 then found = known_earlier(key) end
  local is_wanted = string.sub(wanted, i, i) == '1'
  if found.err then
    found = {found.err}
  elseif #found == 0 and not is_wanted and redis.call('ZSCORE', deleted, id_of(key)) then
    found = {'deleted'}
  elseif #found == 0 then
    for _, command in ipairs(cjson.decode(ARGV[i])) do redis.call(unpack(command)) end
    redis.call('ZREM', deleted, id_of(key)) -- last: a script that begins so passes a full memory
  end
  answers[i] = found
end
return answers
"""


class Call(TypedDict):
    """Keys and arguments of ``CREATE``."""

    keys: list[str]
    args: list[str]


class Enqueue:
    """What ``CREATE`` is called with, and what its answers mean."""

    def __init__(
        self, records: Records, line: Line, entries: EntryTemplate, deleted_key: str
    ) -> None:
        self._records = records
        self._line = line
        self._entries = entries
        self._deleted_key = deleted_key

    def call(self, new: Sequence[Record], again: Sequence[bool]) -> Call:
        """What writes new records and queues their jobs.

        Args:
            again: of each, whether it is wanted even though it was deleted.
        """
        return Call(
            keys=[self._records.key(each.id) for each in new],
            args=[
                *map(self._commands, new),
                self._deleted_key,
                "".join("1" if each else "0" for each in again),
                json.dumps(dict(filter(None, map(self._earlier, new)))),
            ],
        )

    def _earlier(self, new: Record) -> tuple[str, dict[str, Any]] | None:
        earlier = new.spec.earlier_id
        if not earlier:
            return None
        old = {"key": self._records.key(earlier), "prompts": new.spec.prompts}
        return self._records.key(new.id), old

    def _commands(self, new: Record) -> str:
        """As JSON, which one argument is enough for: the client takes its time over each."""
        pipe = self._records.redis.pipeline()
        self._records.write(pipe, new)
        self._records.record_event(pipe, new.id, "queued")
        self._entries.write(pipe, new.id)
        self._line.push(pipe, new)
        # There is nothing to delete, and a script that begins so is let pass when memory is full.
        return as_json(each for each in commands_of(pipe) if each[0] != "DEL")

    @staticmethod
    def id_of(found: list[Any]) -> str:
        """Of the record that was found; empty where that has none."""
        return text(_fields(found).get(b"id", "")) if len(found) > 1 else ""

    @staticmethod
    def answer(new: Record, found: list[Any], again: bool) -> tuple[Record, bool] | None:
        """What submitting comes to, given what was found; ``None`` where there is more to do.

        Raises:
            UnreadableRecord: the job is known, and its record cannot be read.
        """
        if not found:
            return new, True
        if found == [DELETED]:
            return new, False
        known = parsed("job", new.id, _record, found)
        ended = known.state in (State.FAILED, State.CANCELLED)
        if known.deleting_at is not None:
            return None
        is_told = set(new.callbacks) <= set(known.callbacks) and set(new.batches) <= set(
            known.batches
        )
        is_raised = known.state == State.QUEUED and new.share.priority.is_before(
            known.share.priority
        )
        return (known, False) if is_told and not is_raised and not (again and ended) else None


def _fields(found: list[Any]) -> dict[Any, Any]:
    """Of fields and values in turn."""
    return dict(zip(found[::2], found[1::2], strict=True))


def _record(found: list[Any]) -> Record:
    return Record.from_fields(_fields(found))
