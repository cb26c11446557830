"""Uploads whose pictures nobody is to see: deleted when their job is done."""

from __future__ import annotations

import logging

from shoal.errors import ShoalError
from shoal.model.filter import Filter
from shoal.model.job import State
from shoal.model.outputs import Redact
from shoal.model.record import Record
from shoal.queue.queue import JobQueue
from shoal.retention.uploads import erase_upload
from shoal.settings import Settings

PAGE = 200

log = logging.getLogger(__name__)


def remove_redacted_upload(record: Record, queue: JobQueue, settings: Settings) -> None:
    """Delete the source of a redaction that has succeeded, if it was uploaded to the API.

    It stays as long as another job has yet to read it, and is then that job's to delete or keep.

    Raises:
        RedisUnavailable
    """
    asked = any(
        isinstance(each, Redact) and not each.keep_upload for each in record.spec.options.outputs
    )
    uri = record.spec.uri
    if not asked or record.state != State.SUCCEEDED or not settings.is_upload(uri):
        return
    if _is_awaited(uri, queue):
        log.info("the upload %s stays: another job needs it", uri)
        return
    try:
        erase_upload(uri, queue, settings)
    except ShoalError as error:
        log.warning("could not delete the unredacted upload %s: %s", uri, error)
    else:
        log.info("deleted the unredacted upload %s", uri)


def _is_awaited(uri: str, queue: JobQueue) -> bool:
    """Whether a job of this video is queued or running."""
    folder = uri.split("/")[-2]  # the hash of its content: the whole URI may be too long
    for state in (State.QUEUED, State.RUNNING):
        cursor = ""
        while True:
            wanted = Filter(state=state, text=folder)
            page, cursor = queue.records.page(wanted, limit=PAGE, cursor=cursor)
            if any(record.spec.uri == uri for record in page):
                return True
            if not cursor:
                break
    return False
