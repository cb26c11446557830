"""What interrupted attempts at a job left: removed when nobody needs it any more."""

from __future__ import annotations

import logging

from shoal.errors import ShoalError
from shoal.jobs import JobSpec
from shoal.results import parts_prefix
from shoal.settings import Settings
from shoal.storage import storage_for

log = logging.getLogger(__name__)


def remove_parts(spec: JobSpec, settings: Settings) -> None:
    """Remove the parts of all attempts, and results whose upload was cut off; if that fails, they
    only take up space."""
    prefix = parts_prefix(spec)
    try:
        storage = storage_for(prefix, settings)
        storage.delete(prefix)
        storage.sweep(spec.results_prefix)
    except ShoalError as error:
        log.warning("%s is left behind: %s", prefix, error)
