"""What the attempts of a cancelled job have left in storage."""

from __future__ import annotations

import logging

from pydantic import BaseModel, ValidationError

from shoal.errors import ShoalError, SourceNotFound
from shoal.model.job import State
from shoal.model.record import Record
from shoal.queue.queue import JobQueue
from shoal.queue.split import segment_ids
from shoal.results.layout import WorkerMetadata, result_name, result_uri
from shoal.results.parts import remove_parts
from shoal.settings import Settings
from shoal.storage import storage_for

MAX_METADATA_BYTES = 4_000_000

log = logging.getLogger(__name__)


class _Made(BaseModel):
    """What the metadata of results says of who made them."""

    worker: WorkerMetadata


def has_leftovers(record: Record) -> bool:
    """Whether a job was cancelled that may have segments; no worker removes them."""
    return record.state == State.CANCELLED and record.attempt > 0


def remove_leftovers(record: Record, queue: JobQueue, settings: Settings) -> None:
    """Remove them, or leave them to be removed later."""
    is_removed = remove_parts(record.spec, settings, segment_ids(record))
    if is_removed and remove_published(record, settings):
        queue.cleanup.done(record.id)


def remove_published(record: Record, settings: Settings) -> bool:
    """Remove the results that a cancelled attempt completed, and whose worker was lost before it
    could say so. Those of an earlier run of the job stay.

    Returns:
        Whether there are none any more.
    """
    metadata = result_uri(record.spec, result_name(record.spec, "metadata"))
    prefix = record.spec.results_prefix
    try:
        storage = storage_for(metadata, settings)
        content = b"".join(storage.read(metadata, length=MAX_METADATA_BYTES))
        made = _Made.model_validate_json(content).worker
        if (made.name, made.attempt) != (record.worker, record.attempt):
            return True
        for info in list(storage.list(prefix)):
            if info.uri != metadata:
                storage.delete(info.uri)
        storage.delete(metadata)  # last: what breaks in between is found again by it
        storage.delete(prefix)  # the folder itself, where there is one
    except (SourceNotFound, ValidationError):  # none, or not ours
        return True
    except ShoalError as error:
        log.warning("could not delete the results in %s: %s", prefix, error)
        return False
    return True
