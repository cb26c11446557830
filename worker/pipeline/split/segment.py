"""A segment of a split job: tracked, and later drawn with the object IDs of the whole video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from shoal.errors import MixedEngines, SegmentsLost
from shoal.results.formats.tables import Tables
from worker.engines.base import Query
from worker.outputs.base import Output, Scene, Stream, StreamNeeds
from worker.outputs.registry import streams_of
from worker.pipeline.job import VideoJob
from worker.pipeline.part_store import PartStore
from worker.pipeline.replay import Replay
from worker.pipeline.run_state import RunState
from worker.pipeline.split.plan import ASSUME_S, CutPlace, PlannedSegment, SplitPlan
from worker.pipeline.split.store import is_of, joined_origin, read_plan
from worker.protocol import Done
from worker.video.frame import VideoInfo
from worker.video.source import Source


class SegmentJob(VideoJob, ABC):
    """What both have in common: a stretch of the video, whose last checkpoint is the result."""

    def _run(self) -> Done:
        store = PartStore(self.context)
        with self.context.stage("fetch"):
            path = self._fetch()
            self.context.continued = store.newest(self.origin)
        self._track_anew(path, store)
        return Done(results={}, summary={})

    @cached_property
    def plan(self) -> SplitPlan:
        return read_plan(self.context)

    @property
    def number(self) -> int:
        assert self.spec.segment
        return self.spec.segment.number

    @property
    def planned(self) -> PlannedSegment:
        return self.plan.segments[self.number - 1]

    @property
    @abstractmethod
    def place(self) -> CutPlace:
        """After which it begins."""

    @property
    @abstractmethod
    def until(self) -> int:
        """The written frames of the video up to which it goes; 0: to the end."""

    def _begin(self) -> RunState | None:
        place = self.place
        if place.position is None:
            return None
        return RunState(position=place.position, picture=place.picture, fresh=True)

    def _open(
        self,
        path: Path,
        max_frames: int,
        *,
        every: bool = False,
        only: frozenset[int] | None = None,
    ) -> Source:
        return super()._open(path, self.until or max_frames, every=every, only=only)

    def _keeps_complete(self, outputs: Sequence[Output[Any]]) -> bool:
        return True

    def _expected_frames(self, info: VideoInfo, written_fps: float) -> int:
        return (self.until or self.plan.frames) - self.place.written


class TrackSegment(SegmentJob):
    """Tracks a segment: tables, and whatever else needs no object IDs."""

    @property
    def place(self) -> CutPlace:
        return self.planned.start

    @property
    def until(self) -> int:
        return self.planned.until

    @cached_property
    def query(self) -> Query:
        # IDs are the video's only once the segments are joined: what to leave out is told then.
        # An object that began before the segment is found again, however badly it is seen.
        before = self.place.position
        until_s = before.time_s + ASSUME_S if before else -1.0
        return replace(super().query, remove_objects=(), assume_until_s=until_s)

    def _prepare(self) -> None:
        wanted, ours = self.plan.engine.name, self.predictor.name
        if wanted != ours:
            raise MixedEngines(f"the job's segments are tracked by {wanted!r}; this is {ours!r}")
        self._check_engine()

    def _streams(self, scene: Scene, outputs: Sequence[Output[Any]]) -> list[Stream]:
        return [each for each in streams_of(scene, outputs) if each.needs is StreamNeeds.FRAME]


class RenderSegment(SegmentJob):
    """Draws a segment: tables and notes of the whole video say what is on its frames."""

    def _prepare(self) -> None:
        assert self.spec.segment
        job = self.spec.model_copy(update={"segment": None})
        store = PartStore(self.context, job, "joined")
        with self.context.stage("fetch"):
            joined = store.newest(
                joined_origin(self.spec, self.spec.segment.plan),
                lambda file: is_of(file, self.number),
            )
        if joined is None:
            raise SegmentsLost(f"the joined tables are not in {store.prefix}")
        folder = self.context.work_dir
        for file in joined.files:
            if is_of(file, self.number):
                (store.folder / file.name).rename(folder / file.kind)
        tables = Tables(
            masks=folder / "masks.parquet",
            frames=folder / "frames.parquet",
            labels=self.spec.labels,
            stem=self.spec.stem,
            uri=self.spec.uri,
            width=0,
            height=0,
            fps=0.0,
            duration_s=0.0,
        )
        self.predictor = Replay(self.plan.engine, tables)
        made_by = {name: self.origin.made_by[name] for name in ("shoal", "av")}
        self.origin = self.origin.model_copy(update={"made_by": made_by})

    @property
    def place(self) -> CutPlace:
        return self.planned.own

    @property
    def until(self) -> int:
        return self.planned.own_until

    @cached_property
    def query(self) -> Query:
        return Query(prompts=self.spec.labels)  # all else is in the tables

    def _streams(self, scene: Scene, outputs: Sequence[Output[Any]]) -> list[Stream]:
        return [each for each in streams_of(scene, outputs) if each.needs is not StreamNeeds.FRAME]
