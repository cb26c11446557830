"""The first phase of a split job: read the video once, and decide where it is cut."""

from __future__ import annotations

from pathlib import Path

from shoal.model.job import Split
from shoal.model.record import Phase
from worker.engines.base import tracking_fps, warm_up_s
from worker.pipeline.job import VideoJob
from worker.pipeline.split.plan import OVERLAP, SplitPlan, auto_segments, choose, read
from worker.pipeline.split.store import save_plan
from worker.protocol import Done, HandOver


class CutJob(VideoJob):
    """Cuts a video; one that is too short for that is processed as a whole."""

    def _run(self) -> Done | HandOver:
        store = self._store()
        with self.context.stage("fetch"):
            path = self._fetch()
            self.context.continued = store.newest(self.origin)
        if self.context.continued is None and (plan := self._plan(path)):
            name = save_plan(self.context, plan)
            return HandOver(phase=Phase.TRACK, plan=name, segments=len(plan.segments))
        return self._publish(self._track_anew(path, store))

    def _lead(self, expected: int, written_fps: float) -> int:
        """How many frames a segment tracks before its own: no more than a segment has."""
        wanted, length = self.spec.options.split, self.context.settings.split_s * written_fps
        if wanted is not Split.AUTO and expected:
            length = expected / int(wanted)
        needed = warm_up_s(self.predictor) * written_fps
        return max(OVERLAP // 2, round(min(needed, length)))

    def _plan(self, path: Path) -> SplitPlan | None:
        """Where the segments lie; None if there is one only."""
        wanted, segment_s = self.spec.options.split, self.context.settings.split_s
        with self.context.stage("cut"), self._open(path, self.spec.options.max_frames) as source:
            announced_s = source.info.duration_s
            if wanted is Split.AUTO and 0 < announced_s < 2 * segment_s:
                return None
            written_fps = source.sampling.written_fps(source.info)
            expected = self._expected_frames(source.info, written_fps)
            self._report_plan(source.info, source.sampling)
            source.skip_to_start(self.context.advance)
            self.context.at(0)
            fps = tracking_fps(self.predictor, self.query, source.info)
            found = read(source, fps, self._lead(expected, written_fps), self.context.advance)
            self._check_whole(source.extent)
        count = auto_segments(found.end_s, segment_s) if wanted is Split.AUTO else int(wanted)
        segments = choose(found, count)
        if len(segments) < 2:
            return None
        return SplitPlan(
            job_id=self.spec.id,
            engine=self._engine(),
            frames=found.frames,
            segments=tuple(segments),
            timings=self.context.timings(),
        )
