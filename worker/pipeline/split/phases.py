"""Which class does what the parent orders."""

from __future__ import annotations

from shoal.model.job import Role, Split
from shoal.model.record import Phase
from worker.pipeline.job import VideoJob
from worker.pipeline.split.cut import CutJob
from worker.pipeline.split.join import FinalJob, JoinJob
from worker.pipeline.split.segment import RenderSegment, TrackSegment
from worker.protocol import Run

SEGMENTS = {Role.TRACK: TrackSegment, Role.RENDER: RenderSegment}
PHASES = {Phase.JOIN: JoinJob, Phase.FINAL: FinalJob}


def job_class(run: Run) -> type[VideoJob]:
    """The class of a job, of a segment, or of a phase of a split job."""
    if segment := run.spec.segment:
        return SEGMENTS[segment.role]
    if phase := PHASES.get(run.phase):
        return phase
    return VideoJob if run.spec.options.split is Split.OFF else CutJob
