"""Attempts at a split job without a queue: its phases and segments one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shoal.errors import Stopped
from shoal.model.job import JobSpec, Role, SplitSegment
from shoal.model.record import Phase
from tests.attempts import Job, Line
from worker.protocol import Done, HandOver

ROLES = {Phase.TRACK: (Role.TRACK, Phase.JOIN), Phase.RENDER: (Role.RENDER, Phase.FINAL)}


class SplitJob(Job):
    """A job with option ``split``.

    Attributes:
        phases: that it went through.
        segments: how many it was cut into.
    """

    def complete(
        self,
        cuts: Callable[[JobSpec], Sequence[int]] = lambda spec: (),
        order: Callable[[list[JobSpec]], list[JobSpec]] = lambda specs: specs,
    ) -> Done:
        """All of it.

        Args:
            cuts: numbers of written frames at which attempts at a segment are preempted.
            order: in which the segments are done.
        """
        self.phases: list[Phase] = []
        self.segments = 0
        handed: Done | HandOver = self.order(self.spec)
        while isinstance(handed, HandOver):
            role, following = ROLES[handed.phase]
            self.phases.append(handed.phase)
            self.segments = handed.segments
            for spec in order(self.specs(handed, role)):
                for frames in cuts(spec):
                    self._interrupt(spec, frames)
                done = self.order(spec)
                assert isinstance(done, Done)
                assert not done.results
            self.phases.append(following)
            handed = self.order(
                self.spec, phase=following, plan=handed.plan, segments=handed.segments
            )
        return handed

    def specs(self, handed: HandOver, role: Role) -> list[JobSpec]:
        """The segments that a phase waits for."""
        numbers = range(1, handed.segments + 1)
        return [
            self.spec.model_copy(
                update={
                    "segment": SplitSegment(
                        job=self.spec.id, role=role, number=number, plan=handed.plan
                    )
                }
            )
            for number in numbers
        ]

    def _interrupt(self, spec: JobSpec, frames: int) -> None:
        try:
            self.order(spec, Line(stop_at=frames))
        except Stopped:
            return
        raise AssertionError(f"segment {spec.segment} has fewer than {frames} frames")
