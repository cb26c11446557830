"""Cancelling many jobs that wait, a chunk in one call.

A transaction for each would be six round trips, and an entry of a long queue is searched for from
one end.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shoal.model.filter import batch_index
from shoal.model.job import State
from shoal.model.record import Record, text
from shoal.queue.connection import redis_errors
from shoal.queue.line import commands_of, word
from shoal.queue.unreadable import readable

if TYPE_CHECKING:
    from shoal.queue.queue import JobQueue

CHUNK = 100  # jobs: some milliseconds of the server's time

# Fields that decide what cancelling writes; ``state`` is the first.
DECISIVE = ("state", "attempt", "queued_at", "callbacks", "batches", "error", "worker")

# For each key a JSON of [values of the fields, commands]: the commands are run if the values are
# what they were. Gives 1 for each job where they were run.
CANCEL = """
local answers, fields = {}, cjson.decode(ARGV[1])
for i, key in ipairs(KEYS) do
  local wanted = cjson.decode(ARGV[i + 1])
  local found = redis.call('HMGET', key, unpack(fields))
  answers[i] = 1
  for j = 1, #fields do
    if (found[j] or '') ~= wanted[1][j] then answers[i] = 0 end
  end
  if answers[i] == 1 then
    for _, command in ipairs(wanted[2]) do redis.call(unpack(command)) end
  end
end
return answers
"""


def cancel_waiting(queue: JobQueue, batch_id: str, limit: int) -> list[Record]:
    """Cancel up to ``limit`` jobs of a batch that wait, newest first.

    Returns:
        The records as they were of those that were cancelled. One that has changed in between is
        left as it is.

    Raises:
        RedisUnavailable
    """
    with redis_errors():
        index = queue.records.indexes.key(f"{batch_index(batch_id)}:{State.QUEUED}")
        found: Any = queue.redis.zrevrange(index, 0, limit - 1)
        ids = list(map(text, found))
        cancelled: list[Record] = []
        for start in range(0, len(ids), CHUNK):
            cancelled += _cancel(queue, ids[start : start + CHUNK])
    return cancelled


def _cancel(queue: JobQueue, ids: list[str]) -> list[Record]:
    pipe = queue.redis.pipeline(transaction=False)
    for job_id in ids:
        pipe.hgetall(queue.records.key(job_id))
    answers = zip(ids, pipe.execute(raise_on_error=False), strict=True)
    there = [(job_id, fields) for job_id, fields in answers if fields]
    raw = dict(there)
    records = [record for _, record in readable("job", there, Record.from_fields)]
    waiting = [record for record in records if record.state == State.QUEUED]
    if not waiting:
        return []
    keys = [queue.records.key(record.id) for record in waiting]
    args = [json.dumps(DECISIVE)]
    for record in waiting:
        values = [text(raw[record.id].get(name.encode(), b"")) for name in DECISIVE]
        args.append(json.dumps([values, _commands(queue, record)]))
    done: Any = queue.redis.register_script(CANCEL)(keys=keys, args=args)
    return [record for record, was_done in zip(waiting, done, strict=True) if was_done]


def _commands(queue: JobQueue, record: Record) -> list[list[str]]:
    """All but scripts, which no script can call: the reaper frees the place of one in transit."""
    pipe = queue.redis.pipeline()
    queue.finish(pipe, record, State.CANCELLED)
    return [list(map(word, each)) for each in commands_of(pipe) if each[0] != "EVAL"]
