"""What interrupted attempts at a job left: removed when nobody needs it any more.

Checkpoints without pictures may stay for some days after success: a correction of a later frame
goes on from them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from shoal import engines
from shoal.errors import ShoalError
from shoal.model.job import Direction, JobSpec
from shoal.model.outputs import Redact
from shoal.results.layout import parts_prefix, split_prefix
from shoal.settings import Settings
from shoal.storage import storage_for

log = logging.getLogger(__name__)

STATE_NAME = re.compile(r"(\d+)-a(\d+)\.(?:f(\d+)\.)?state")  # see layout.state_name


def keeps_states(spec: JobSpec, engine: str, settings: Settings) -> bool:
    """Whether checkpoints of a job stay after it has succeeded.

    Not of one that redacts: nothing of its pictures stays, and it cannot be refined.
    """
    return (
        settings.keep_checkpoints_days > 0
        and engines.corrects(engine)
        and not spec.is_edited
        and spec.options.direction is Direction.FORWARD
        and not any(isinstance(each, Redact) for each in spec.options.outputs)
    )


def state_frame(name: str) -> int | None:
    """The last frame that the engine had seen at a checkpoint that can be kept; else None."""
    match = STATE_NAME.fullmatch(name)
    return int(match[3]) if match and match[3] else None


def remove_parts(
    spec: JobSpec, settings: Settings, segment_ids: Iterable[str] = (), *, keep_states: bool = False
) -> bool:
    """Remove the parts of all attempts, and results whose upload was cut off.

    Args:
        segment_ids: of a split job, whose parts go as well.
        keep_states: leave checkpoints from which corrections can go on.

    Returns:
        Whether they are gone. What is not only takes up space.
    """
    prefix, split = parts_prefix(spec), split_prefix(spec)
    folders = [prefix, *(f"{split}{each}/" for each in segment_ids)]
    if segment_ids:
        folders.append(split)
    try:
        storage = storage_for(prefix, settings)
        if keep_states:
            folders.remove(prefix)
            for info in storage.entries(prefix):
                if state_frame(info.uri.rpartition("/")[2]) is None:
                    storage.delete(info.uri)
        for folder in folders:
            storage.delete(folder)
        storage.sweep(spec.results_prefix)
    except ShoalError as error:
        log.warning("could not delete the parts in %s: %s", prefix, error)
        return False
    return True
