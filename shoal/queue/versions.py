"""The versions of a video's results: a job and those that refine it."""

from __future__ import annotations

from contextlib import suppress

from shoal.errors import UnreadableRecord
from shoal.model.filter import Filter
from shoal.model.record import Record
from shoal.queue.records import Records

MAX_VERSIONS = 100


def versions_of(records: Records, record: Record) -> list[Record]:
    """All that a job was made from, the job, and all that was made of any of them; oldest first.

    Jobs that are forgotten are left out, and no more than ``MAX_VERSIONS`` are looked for.
    """
    found = {record.id: record}
    to_look = [record]
    while to_look and len(found) < MAX_VERSIONS:
        each = to_look.pop()
        near, _ = records.page(Filter(base=each.id), limit=MAX_VERSIONS)
        with suppress(UnreadableRecord):
            if each.spec.base and (base := records.find(each.spec.base)):
                near.append(base)
        fresh = [other for other in near if other.id not in found]
        found |= {other.id: other for other in fresh}
        to_look += fresh
    return sorted(found.values(), key=lambda each: (each.created_at, each.id))


def ancestors_of(records: Records, record: Record) -> list[Record]:
    """What a job was made from, what that was made from, and so on; as far as it is known."""
    found: list[Record] = []
    while record.spec.base and len(found) < MAX_VERSIONS:
        with suppress(UnreadableRecord):
            if base := records.find(record.spec.base):
                found.append(base)
                record = base
                continue
        break
    return found
