"""New jobs in Redis: any number in one call, each unless it is there already.

Senders of events wait for it: a transaction for each would be four round trips.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

from pydantic_core import to_json

from shoal.model.job import State
from shoal.model.record import Record, text
from shoal.queue import result_sizes
from shoal.queue.ingested import KEPT_S, Ingested, digest
from shoal.queue.line import Line, as_words, commands_of
from shoal.queue.records import Records
from shoal.queue.rq import EntryTemplate
from shoal.queue.unreadable import parsed

# What stands for a record, and why there is none:
DELETED = b"deleted"  # nobody wants the job back
COPY = b"copy"  # the video may be a copy of a result

# For each key what its hash holds, or alone a word that says why there is none, or the error that
# says it is no hash; where there is nothing, the job is created. The arguments are for each key the
# job as JSON, then for each key the digest of the upload that it is made of (or nothing), then the
# keys of the deleted jobs, of the results' sizes and of what uploads became, and how long the last
# is kept.
CREATE = """
local deleted, sizes, ingested, kept_s = unpack(ARGV, 2 * #KEYS + 1)
local answers, is_noted = {}, false

local function id_of(key) return string.match(key, '[^:]+$') end

-- Where an earlier release put the same job: it stays that job if its prompts have that order.
local function known_earlier(job)
  local found = job.earlier and redis.pcall('HGETALL', job.earlier) or {}
  if found.err then return {} end
  for j = 1, #found, 2 do
    local is_spec, spec = pcall(cjson.decode, found[j] == 'spec' and found[j + 1])
    if is_spec and type(spec) == 'table' and type(spec.prompts) == 'table' then
      for k, prompt in ipairs(job.prompts) do
        if spec.prompts[k] ~= prompt then return {} end
      end
      return found
    end
  end
  return {}
end

-- Gives what is in the place of the job, and the id of that; nothing if the job is created.
local function create(id, job)
  local found = known_earlier(job)
  if #found > 0 then return found, id_of(job.earlier) end
  if not job.again and redis.call('ZSCORE', deleted, id) then return {'deleted'}, id end
  if job.size and redis.call('GETBIT', sizes, job.size) == 1 then return {'copy'} end
  for _, command in ipairs(job.commands) do redis.call(unpack(command)) end
  redis.call('ZREM', deleted, id) -- last: a script that begins so passes a full memory
  return {}, id
end

for i, key in ipairs(KEYS) do
  local found, id, upload = redis.pcall('HGETALL', key), id_of(key), ARGV[#KEYS + i]
  if found.err then
    found, id = {found.err}, nil
  elseif #found == 0 then
    found, id = create(id, cjson.decode(ARGV[i]))
  end
  if id and upload ~= '' then
    redis.call('HSET', ingested, upload, id)
    is_noted = true
  end
  answers[i] = found
end
if is_noted then redis.call('EXPIRE', ingested, kept_s) end
return answers
"""


class NewJob(NamedTuple):
    """A job to create, unless it is there.

    Attributes:
        again: whether it is wanted even though it was deleted.
        is_upload: what the upload became is noted (``shoal.queue.ingested``).
        may_be_copy: it is not created if a video among results has as many bytes.
    """

    record: Record
    again: bool = True
    is_upload: bool = False
    may_be_copy: bool = False


class Call(TypedDict):
    """Keys and arguments of ``CREATE``."""

    keys: list[str]
    args: list[str | bytes | int]


class Enqueue:
    """What ``CREATE`` is called with, and what its answers mean."""

    def __init__(
        self, records: Records, line: Line, entries: EntryTemplate, deleted_key: str
    ) -> None:
        self._records = records
        self._line = line
        self._entries = entries
        self._ingested = Ingested(records.redis, records.namespace)
        self._deleted_key = deleted_key

    def call(self, new: Sequence[NewJob]) -> Call:
        """What writes new records and queues their jobs."""
        return Call(
            keys=[self._records.key(each.record.id) for each in new],
            args=[
                *map(self._described, new),
                *(digest(each.record.spec) if each.is_upload else b"" for each in new),
                self._deleted_key,
                result_sizes.key_of(self._records.namespace),
                self._ingested.key,
                KEPT_S,
            ],
        )

    def _described(self, new: NewJob) -> bytes:
        """As JSON, which one argument is enough for: the client takes its time over each."""
        spec = new.record.spec
        job: dict[str, Any] = {"commands": self._commands(new.record), "again": new.again}
        if new.may_be_copy:
            job["size"] = result_sizes.bit_of(spec.size)
        if earlier := spec.earlier_id:
            job |= {"earlier": self._records.key(earlier), "prompts": spec.prompts}
        return to_json(job)

    def _commands(self, new: Record) -> list[list[str]]:
        pipe = self._records.redis.pipeline()
        self._records.write(pipe, new)
        self._records.record_event(pipe, new.id, "queued")
        self._entries.write(pipe, new.id)
        self._line.push(pipe, new)
        # There is nothing to delete, and a script that begins so is let pass when memory is full.
        return as_words(each for each in commands_of(pipe) if each[0] != "DEL")

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
