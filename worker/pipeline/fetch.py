"""The video of a job: fetched, and looked for again where it could not be read."""

from __future__ import annotations

import logging
from pathlib import Path

from shoal.errors import OwnResult, ShoalError, StorageUnavailable, VideoTooLarge
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.storage.base import MARKER
from worker.pipeline.context import JobContext

log = logging.getLogger(__name__)


def fetch_video(context: JobContext) -> Path:
    """The video in the version that was submitted, as a local file.

    Raises:
        OwnResult: an event announced a copy of a result of Shoal's.
        VideoTooLarge: it has more bytes than ``max_video_bytes``.
        ShoalError: the storage does not have it.
    """
    settings, spec = context.settings, context.spec
    source = context.run.source or spec.uri
    storage = storage_for(source, settings)
    info = storage.stat(source)
    if context.run.automatic and MARKER in info.metadata:
        raise OwnResult(f"it is a copy of a result of job {info.metadata[MARKER]}")
    if info.size > settings.max_video_bytes:
        limit = settings.max_video_bytes
        raise VideoTooLarge(f"the video has {info.size} bytes; the limit is {limit}")
    return storage.fetch(source, spec.version, context.work_dir)


def check_source(uri: str, settings: Settings) -> None:
    """A file that is read where it lies looks missing, broken or cut off if its disk goes away.

    Raises:
        StorageUnavailable: that is what happened.
    """
    if not uri.startswith("file:"):
        return
    try:
        storage_for(uri, settings).stat(uri)
    except StorageUnavailable:
        raise
    except ShoalError as error:
        log.debug("it is the source itself: %s", error)
