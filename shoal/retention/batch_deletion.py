"""Deletes a batch with its videos."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from shoal.errors import JobNotFound, UnreadableRecord
from shoal.model.filter import Filter
from shoal.queue.batches import Batches
from shoal.retention.deletion import Deletions

PAGE = 200  # jobs of one call


def delete_page(
    batches: Batches, deletions: Deletions, batch_id: str, cursor: str, keep: Callable[[], None]
) -> str:
    """Have a page of its jobs deleted, and after the last one forget the batch.

    Jobs that also belong to another batch stay.

    Args:
        keep: called before each job.

    Returns:
        The cursor of the next page; "": the batch is gone.
    """
    wanted = Filter(batch=batch_id)
    records, after = batches.queue.records.page(wanted, limit=PAGE, cursor=cursor)
    for record in records:
        keep()
        others = [batches.key(each) for each in record.batches if each != batch_id]
        if not others or not batches.redis.exists(*others):
            with suppress(JobNotFound, UnreadableRecord):
                deletions.ask(record.id)
    if not after:
        batches.forget(batch_id)
    return after
