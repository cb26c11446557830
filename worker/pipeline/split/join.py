"""The phases of a split job after its segments: one set of IDs, and in the end one result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from shoal.errors import MixedEngines, SegmentsLost
from shoal.model.job import Role
from shoal.model.record import Phase
from shoal.results.formats.tables import Tables
from shoal.results.layout import EngineMetadata
from shoal.storage.files import writing
from worker.outputs.base import NotesFile, Output, Scene, Stream
from worker.outputs.join import join, join_tables
from worker.outputs.registry import draws, notes_of, streams_of
from worker.pipeline.checkpoint import Checkpoint, SavedFile
from worker.pipeline.job import VideoJob
from worker.pipeline.part_store import PartStore
from worker.pipeline.run_state import RunState
from worker.pipeline.split.identities import Joiner, SegmentTables, pair
from worker.pipeline.split.plan import SplitPlan
from worker.pipeline.split.store import joined_origin, load_segment, read_plan, segment_spec
from worker.pipeline.summary import Summary
from worker.protocol import Done, HandOver

LAST = 1 << 62  # later than any frame


class JoinJob(VideoJob):
    """Joins the tables of the segments. If nothing is to be drawn, that is all."""

    def _prepare(self) -> None:
        """Any worker may do this."""

    def _run(self) -> Done | HandOver:
        with self.context.stage("fetch"):
            store = PartStore(self.context)
            joined = store.newest(joined_origin(self.spec, self.context.run.plan))
        if joined is None:
            joined = self._join(store)
        if draws(self.spec.options.outputs):
            name, count = self.context.run.plan, len(self.plan.segments)
            return HandOver(phase=Phase.RENDER, plan=name, segments=count)
        return self._finish(joined, store)

    def _finish(self, joined: Checkpoint, store: PartStore) -> Done:
        """Publish what is there as the results of a job whose frames are all written."""
        self.context.continued = joined
        with self.context.stage("fetch"):
            path = self._fetch()
        tracked = self._track(path, store)
        tracked.parts.resumed = joined.resumed
        return self._publish(tracked)

    @cached_property
    def plan(self) -> SplitPlan:
        return read_plan(self.context)

    def _engine(self) -> EngineMetadata:
        return self.plan.engine

    def _join(self, store: PartStore) -> Checkpoint:
        """Write the tables of the video, a piece per segment, and keep them."""
        specs = [
            segment_spec(self.context, Role.TRACK, number)
            for number in range(1, len(self.plan.segments) + 1)
        ]
        with self.context.stage("fetch"):
            loaded = [load_segment(self.context, spec) for spec in specs]
        with self.context.stage("join"), writing("the work directory"):
            joined, files = self._joined(store, loaded)
        with self.context.stage("publish"):  # as long as it takes
            store.save(joined, files)
        return joined

    def _joined(
        self, store: PartStore, loaded: Sequence[tuple[Checkpoint, PartStore]]
    ) -> tuple[Checkpoint, list[SavedFile]]:
        states = [state for state, _ in loaded]
        tables = _tables(self.plan, loaded)
        joiner = Joiner(self.spec.labels, self.spec.remove_objects)
        self.context.expect(len(tables))
        self.context.at(0)
        for number, (before, each) in enumerate(pairwise([None, *tables]), 1):
            self.context.advance()
            assert each is not None
            kinds = sorted(each.files)
            paths = {kind: store.path(number, kind) for kind in kinds}
            joiner.join(each, pair(before, each) if before else {}, paths)
        summary = _completed(joiner.summary, [each.checkpoint.summary for each in states])
        kinds = sorted(tables[0].files)
        kinds += self._write_notes(store, kinds, summary)
        files = [
            file
            for number in range(1, len(tables) + 1)
            for file in store.describe(number, kinds, False)
        ]
        # Where this attempt goes on to the end, it adds its own time then.
        own = self.context.timings() if draws(self.spec.options.outputs) else {}
        joined = Checkpoint(
            origin=joined_origin(self.spec, self.context.run.plan),
            number=len(tables),
            resumed=sum(each.resumed for each in states),
            files=tuple(files),
            timings=_added(self.plan.timings, own, *(each.timings for each in states)),
            checkpoint=RunState(summary=summary, complete=True),
        )
        return joined, files

    def _write_notes(self, store: PartStore, kinds: Sequence[str], summary: Summary) -> list[str]:
        """Write what drawing a segment must know of all of them; gives the kinds of files."""
        found = notes_of(self.spec.options.outputs)
        if not found:
            return []
        numbers = range(1, len(self.plan.segments) + 1)
        whole = {
            kind.partition(".")[0]: join(
                join_tables,
                [store.path(number, kind) for number in numbers],
                self.context.work_dir / f"joined-{kind}",
            )
            for kind in kinds
        }
        tables = Tables(
            masks=whole["masks"],
            frames=whole["frames"],
            labels=self.spec.labels,
            stem=self.spec.stem,
            uri=self.spec.uri,
            width=0,
            height=0,
            fps=round(summary.output_fps, 3),
            duration_s=0.0,
        )
        for notes in found:
            stretches = [
                NotesFile(planned.own.index + 1, store.path(number, notes.piece))
                for number, planned in zip(numbers, self.plan.segments, strict=True)
            ]
            notes.write(tables, whole, stretches)
        return [notes.piece for notes in found]


class FinalJob(JoinJob):
    """Joins what the segments have drawn, without encoding it again, and publishes all."""

    def _run(self) -> Done:
        with self.context.stage("fetch"):
            store = PartStore(self.context)
            joined = store.newest(joined_origin(self.spec, self.context.run.plan))
            if joined is None:
                raise SegmentsLost(f"the joined tables are not in {store.prefix}")
            drawn, files = self._drawn(store)
        summary = joined.checkpoint.summary
        summary.busy_s = _added(summary.busy_s, *(each.checkpoint.summary.busy_s for each in drawn))
        whole = joined.model_copy(
            update={
                "files": joined.files + files,
                "resumed": joined.resumed + sum(each.resumed for each in drawn),
                "timings": _added(joined.timings, *(each.timings for each in drawn)),
                "checkpoint": RunState(summary=summary, complete=True),
            }
        )
        return self._finish(whole, store)

    def _streams(self, scene: Scene, outputs: Sequence[Output[Any]]) -> list[Stream]:
        return streams_of(scene, outputs)

    def _drawn(self, store: PartStore) -> tuple[list[Checkpoint], tuple[SavedFile, ...]]:
        """The files of all rendered segments, in the store's folder under names of their own."""
        states, files = [], []
        for number in range(1, len(self.plan.segments) + 1):
            spec = segment_spec(self.context, Role.RENDER, number)
            state, own = load_segment(self.context, spec)
            states.append(state)
            for file in state.files:
                named = file.model_copy(update={"name": f"{number:05}-{file.name}"})
                (own.folder / file.name).rename(store.folder / named.name)
                files.append(named)
        makers = {tuple(sorted(state.origin.made_by.items())) for state in states}
        if len(makers) > 1:  # their pictures might not play as one video
            raise MixedEngines(f"the segments were drawn by different versions: {sorted(makers)}")
        return states, tuple(files)


def _tables(plan: SplitPlan, loaded: Sequence[tuple[Checkpoint, PartStore]]) -> list[SegmentTables]:
    ends = [each.own.index for each in plan.segments[1:]] + [LAST]
    made = []
    for planned, until, (state, store) in zip(plan.segments, ends, loaded, strict=True):
        files: dict[str, list[Path]] = {}
        for file in state.files:
            files.setdefault(file.kind, []).append(store.folder / file.name)
        made.append(SegmentTables(files, planned.own.index, until))
    return made


def _completed(joined: Summary, segments: Sequence[Summary]) -> Summary:
    """With what the tables do not tell; the last segment has read the video to its end."""
    joined.extent = segments[-1].extent
    joined.frames_tracked = sum(each.frames_tracked for each in segments)
    joined.busy_s = _added(joined.busy_s, *(each.busy_s for each in segments))
    return joined


def _added(*seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds by stage, of several summed."""
    total: Counter[str] = Counter()
    for each in seconds:
        total.update(each)
    return dict(total)
