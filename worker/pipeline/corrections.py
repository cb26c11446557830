"""A corrected video goes on from its base's newest checkpoint before the first correction.

Checkpoints are kept without pictures. So up to there the results of the base are written again,
which takes no model, and saved as the first part of this job; from then on it is a job that was
interrupted after that part.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from shoal.errors import CheckpointUnusable, ResultNotFound, SourceNotFound
from shoal.model.job import Direction
from shoal.results.layout import Metadata
from shoal.results.parts import state_frame
from shoal.storage import storage_for
from worker.engines.base import Query
from worker.outputs.base import Sink
from worker.pipeline.checkpoint import Checkpoint, Origin, decode
from worker.pipeline.context import JobContext
from worker.pipeline.parts import PartWriter
from worker.pipeline.replay import Replay, fetch_base, fetch_metadata
from worker.pipeline.run import process
from worker.pipeline.run_state import RunState
from worker.video.position import Position
from worker.video.source import Source

MAX_ANCESTORS = 20

log = logging.getLogger(__name__)


class Continuation(NamedTuple):
    """Where a corrected video goes on.

    Attributes:
        at: what the base had come to there.
        replay: the results that it had written by then.
    """

    at: RunState
    replay: Replay


def find_continuation(context: JobContext, origin: Origin) -> Continuation | None:
    """Where to go on; None to start over.

    Args:
        origin: of this job.

    Raises:
        Stopped: the job must stop.
        StorageUnavailable and its like: the storage did not answer.
    """
    spec = context.spec
    if spec.options.direction is not Direction.FORWARD:
        return None
    try:
        metadata, tables = fetch_base(spec, context.settings, context.work_dir)
    except ResultNotFound as error:
        log.warning("job %s starts over: %s", spec.id, error)
        return None
    for job_id, known in _ancestors(context, metadata):
        before = min((each.frame for each in spec.objects[known:]), default=0)
        found = _newest(context, origin.model_copy(update={"job_id": job_id}), before)
        if found and isinstance(found.checkpoint.position, Position):
            last = found.checkpoint.position.mark.index
            return Continuation(found.checkpoint, Replay(metadata.engine, tables, last=last))
    return None


def _ancestors(context: JobContext, metadata: Metadata) -> Iterator[tuple[str, int]]:
    """The base, what that was made from and so on; with the number of its visual prompts.

    As far as there are no corrections, all have the same results.
    """
    yield metadata.job_id, len(metadata.objects)
    for _ in range(MAX_ANCESTORS):
        if not metadata.base:
            return
        try:
            metadata = fetch_metadata(context.spec, metadata.base, context.settings)
        except ResultNotFound as error:
            log.info("the checkpoints of an earlier version are not used: %s", error)
            return
        yield metadata.job_id, len(metadata.objects)


def _newest(context: JobContext, origin: Origin, before: int) -> Checkpoint | None:
    """The newest checkpoint of the base that has seen no frame from ``before`` on."""
    prefix = context.spec.parts_folder(origin.job_id)
    storage = storage_for(prefix, context.settings)
    frames = {
        info.uri: state_frame(info.uri.rpartition("/")[2]) for info in storage.entries(prefix)
    }
    usable = {uri: frame for uri, frame in frames.items() if frame is not None and frame < before}
    for uri in sorted(usable, key=lambda uri: usable[uri], reverse=True):
        context.check()
        try:
            return decode(b"".join(storage.read(uri)), origin)
        except (CheckpointUnusable, SourceNotFound) as error:
            log.warning("ignoring checkpoint %s: %s", uri, error)
    return None


def write_again(
    context: JobContext, found: Continuation, parts: PartWriter, source: Source | None
) -> Checkpoint:
    """Write the base's results up to the checkpoint as the first part of this job.

    Args:
        source: gives the frames that were written by then, and ends; None if there are none.

    Returns:
        What to continue from.

    Raises:
        Stopped: the job must stop.
    """
    if source:
        labels = Query(prompts=context.spec.labels)
        process(
            source,
            found.replay,
            labels,
            _Undivided(parts.open_part),
            on_progress=context.wrote,
            should_stop=lambda: context.must_stop,
        )
    state = parts.save_part(found.at)
    # This attempt goes on: it resumes nothing, and its time is not an earlier one's.
    return state.model_copy(
        update={"timings": {}, "resumed": state.resumed - 1, "checkpoint": found.at}
    )


class _Undivided:
    """A ``Destination`` that gets all as one part, which the caller saves."""

    def __init__(self, open_part: Callable[[bool], Sequence[Sink]]) -> None:
        self.open_part = open_part

    def is_part_due(self) -> bool:
        return False

    def close_part(self, checkpoint: RunState) -> None:
        """Never called: no part is ever due."""
