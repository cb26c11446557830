"""One video in the model process: fetch, continue or begin, track, write, publish."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import av

import shoal
from shoal.errors import CheckpointUnusable, Stopped
from shoal.model.job import Options
from shoal.model.prompts import check_exemplars_fit, check_fits
from shoal.results.layout import EngineMetadata
from shoal.results.parts import keeps_states
from shoal.settings import Settings
from worker.engines.base import Predictor, Query, tracking_fps
from worker.outputs.base import Output, Scene, Stream, StreamNeeds
from worker.outputs.registry import keeps_hdr, outputs_of, streams_of
from worker.pipeline.checkpoint import Checkpoint, Origin
from worker.pipeline.context import JobContext, JobControl
from worker.pipeline.corrections import find_continuation, write_again
from worker.pipeline.engine_check import check_engine
from worker.pipeline.fetch import check_source, fetch_video
from worker.pipeline.forecast import FramePlan, Speed
from worker.pipeline.part_store import PartStore
from worker.pipeline.parts import PartWriter
from worker.pipeline.passes import Passes, expected_frames
from worker.pipeline.publish import Publisher, TrackedVideo
from worker.pipeline.query import exemplar_frames, query_of
from worker.pipeline.replay import fetch_replay, forward_options
from worker.pipeline.run import process
from worker.pipeline.run_state import RunState
from worker.pipeline.summary import Summary
from worker.preview.turns import Turns
from worker.protocol import Done, HandOver, Run
from worker.video.feed import Feed
from worker.video.frame import Frame, VideoInfo
from worker.video.position import Extent
from worker.video.probe import VideoLimits
from worker.video.sampling import Sampling
from worker.video.source import Source, open_source

log = logging.getLogger(__name__)


class VideoJob:
    """Processes one video with a loaded predictor."""

    def __init__(
        self,
        run: Run,
        control: JobControl,
        predictor: Predictor,
        settings: Settings,
        why_engine: str = "",
        turns: Turns | None = None,
        speed: Speed | None = None,
    ) -> None:
        self.context = JobContext(run, control, settings, speed)
        self.spec = run.spec
        self.predictor = predictor
        self.why_engine = why_engine  # why the worker runs this engine
        self.turns = turns  # at the predictor, which previews use between two frames
        # The frames to write, where they are known: those of the job whose results are edited.
        self._frames: frozenset[int] | None = None

    @cached_property
    def origin(self) -> Origin:
        return Origin(
            job_id=self.spec.id,
            prompts=self.spec.prompts,
            made_by={
                **self.predictor.versions,
                "engine": self.predictor.name,
                "shoal": shoal.__version__,
                "av": av.__version__,
            },
        )

    def run(self) -> Done | HandOver:
        """
        Returns:
            The names and sizes of the published results, and their summary; of a split job, what
            it waits for.

        Raises:
            Stopped: the parent said so.
            ShoalError: with the cause.
        """
        self._prepare()
        try:
            return self._run()
        except Stopped:
            raise
        except Exception as error:
            if not getattr(error, "transient", False):
                self._check_source()
            raise

    def _prepare(self) -> None:
        """Choose what finds the objects: the model, or the results of the base.

        Raises:
            ShoalError: this cannot be done here.
        """
        if not self.spec.is_edited:
            self._check_engine()
            return
        with self.context.stage("fetch"):
            replay = fetch_replay(self.spec, self.context.settings, self.context.work_dir)
        self.predictor, self._frames = replay, replay.frames
        self.why_engine = f"the results of job {self.spec.base} were edited"

    def _run(self) -> Done | HandOver:
        store = self._store()
        with self.context.stage("fetch"):
            path = self._fetch()
            self.context.continued = store.newest(self.origin)
        if self.spec.is_corrected and self.context.continued is None:
            self.context.continued = self._continue_base(path, store)
        return self._publish(self._track_anew(path, store))

    def _store(self) -> PartStore:
        keeps = keeps_states(self.spec, self.predictor.name, self.context.settings)
        return PartStore(self.context, keeps_states=keeps)

    def _track_anew(self, path: Path, store: PartStore) -> TrackedVideo:
        """Track from where an earlier attempt had come to; if that cannot be, from the start."""
        context = self.context
        try:
            tracked = self._track(path, store)
        except CheckpointUnusable as error:
            if context.continued is None:
                raise
            log.warning("job %s starts over: %s", self.spec.id, error)
            context.continued = None
            context.confirm()
            store.clear()
            tracked = self._track(path, store)
        self._check_whole(tracked.summary.extent)
        return tracked

    def _check_whole(self, extent: Extent) -> None:
        """Raises what ``_check_source`` does, where less was read than the video has."""
        if extent.truncated or extent.missing_s:
            self._check_source()

    def _continue_base(self, path: Path, store: PartStore) -> Checkpoint | None:
        """Take over what the base had come to before the first correction, if that is known."""
        context = self.context
        with context.stage("fetch"):
            found = find_continuation(context, self.origin)
        if found is None:
            log.info("job %s starts over: no checkpoint is before its corrections", self.spec.id)
            return None
        frames = found.replay.frames
        with self._open(path, len(frames), only=frames) as source:
            scene = self._scene(path, source)
            streams = self._streams(scene, outputs_of(scene))
            parts = PartWriter(context, store, self.origin, streams)
            if self.spec.options.start_frame is not None:
                source.skip_to_start()
            context.at(0)
            with context.stage("render"):
                return write_again(context, found, parts, source if frames else None)

    def _publish(self, tracked: TrackedVideo) -> Done:
        publisher = Publisher(self.context, self._engine())
        self.context.at(0)
        with self.context.stage("render"):
            publisher.make_results(tracked)
        self.context.at(tracked.summary.frames_written)
        with self.context.stage("publish"):
            publisher.put_results()
        # The parts stay until the parent has recorded the success: a death in between costs little.
        return publisher.put_metadata(tracked)

    def _engine(self) -> EngineMetadata:
        """What finds the objects."""
        predictor = self.predictor
        return EngineMetadata(
            name=predictor.name,
            device=predictor.device,
            versions=predictor.versions,
            reason=self.why_engine,
        )

    # --- before the first frame ------------------------------------------------------------------

    def _check_engine(self) -> None:
        check_engine(self.spec, self.predictor, self.why_engine)

    def _fetch(self) -> Path:
        return fetch_video(self.context)

    def _check_source(self) -> None:
        """
        Raises:
            StorageUnavailable: the disk of the video has gone away.
        """
        check_source(self.spec.uri, self.context.settings)

    def _reopen(self, path: Path, *, every: bool = False) -> Source:
        return self._open(path, max_frames=0, every=every)

    def _open(
        self,
        path: Path,
        max_frames: int,
        *,
        every: bool = False,
        only: frozenset[int] | None = None,
    ) -> Source:
        options, settings = self._options, self.context.settings
        return open_source(
            path,
            sample_fps=0 if every else options.sample_fps,
            max_frames=max_frames,
            start_frame=options.start_frame,
            sequence_fps=options.sequence_fps,
            allow_truncated=options.allow_truncated,
            deinterlace=options.deinterlace,
            also=self.query.frames if only is None else (),
            keep_hdr=keeps_hdr(options.outputs),
            only=None if every else only or self._frames,
            limits=VideoLimits(
                max_pixels=settings.max_pixels,
                max_duration_s=settings.max_duration_s,
                max_fps=settings.max_fps,
            ),
        )

    # --- the frames ------------------------------------------------------------------------------

    def _track(self, path: Path, store: PartStore) -> TrackedVideo:
        context = self.context
        begun = context.continued.checkpoint if context.continued else self._begin()
        passes = Passes(self._options, partial(tracking_fps, self.predictor, self.query), begun)
        parts: PartWriter | None = None
        while True:
            with context.stage("open"):
                source = self._open(path, passes.max_frames)
            with source:
                check_fits(self.spec.objects, source.info.width, source.info.height)
                check_exemplars_fit(self.spec.exemplars, source.info.width, source.info.height)
                scene = self._scene(path, source)
                outputs = outputs_of(scene)
                streams = self._streams(scene, outputs)
                parts = parts or PartWriter(context, store, self.origin, streams)
                if passes.at.complete:
                    context.resumed(passes.at.summary.extent.frames_read - 1)
                    return TrackedVideo(scene, outputs, passes.at.summary, parts)
                feed = self._enter_pass(passes, source)
                if passes.at.survey and parts.is_part_due():
                    parts.close_part(passes.at)  # a long survey is not made twice
                summary = self._run_pass(feed, parts, passes.at, path)
            if not passes.turn(summary):
                if self._keeps_complete(outputs):
                    parts.close_part(RunState(summary=summary, complete=True))
                return TrackedVideo(scene, outputs, summary, parts)
            parts.close_part(passes.at)

    def _scene(self, path: Path, source: Source) -> Scene:
        sampling = source.sampling
        written_fps = sampling.written_fps(source.info)
        self._report_plan(source.info, sampling)
        return Scene(
            self.spec,
            path,
            source.info,
            written_fps,
            partial(self._reopen, path),
            self.context.work_dir,
            sampling,
        )

    def _report_plan(self, info: VideoInfo, sampling: Sampling) -> None:
        written_fps = sampling.written_fps(info)
        expected = self._expected_frames(info, written_fps)
        run = self.context.run
        if self._frames is not None or self.spec.segment or run.phase:  # the model sees not all
            self.context.expect(expected if self._frames is None else len(self._frames))
            return
        tracked_fps = min(info.fps, tracking_fps(self.predictor, self.query, info))
        self.context.plan(
            FramePlan(
                sampling,
                frames=expected,
                all_frames=expected_frames(info, self.spec.options, info.fps),
                tracked_per_frame=max(1.0, tracked_fps / written_fps) if written_fps else 1.0,
            )
        )

    def _begin(self) -> RunState | None:
        """Where the first attempt begins, if that is not the start of the video."""
        return None

    def _streams(self, scene: Scene, outputs: Sequence[Output[Any]]) -> list[Stream]:
        return [s for s in streams_of(scene, outputs) if s.needs is not StreamNeeds.VIDEO]

    def _keeps_complete(self, outputs: Sequence[Output[Any]]) -> bool:
        """Whether a checkpoint is worth it when all frames are written."""
        return any(output.is_rendered for output in outputs)  # that may take long

    def _expected_frames(self, info: VideoInfo, written_fps: float) -> int:
        return expected_frames(info, self.spec.options, written_fps)

    def _enter_pass(self, passes: Passes, source: Source) -> Feed:
        """Go to where the current pass begins or continues. That may take its time."""
        if passes.is_short_way:
            return source
        continued = self.context.continued
        resumes = continued is not None and passes.at is continued.checkpoint
        self.context.at(0)
        with self.context.stage("resume" if resumes else "seek"):
            feed = passes.enter(source, self.context.advance)
        self.context.at(passes.at.summary.frames_written)
        if resumes:
            self.context.resumed(passes.frame)
        return feed

    def _run_pass(self, feed: Feed, parts: PartWriter, at: RunState, path: Path) -> Summary:
        with self.context.stage("process"), closing(self._exemplars(path)) as exemplars:
            return process(
                feed,
                self.predictor,
                self.query,
                parts,
                checkpoint=at,
                exemplars=exemplars,
                on_progress=self.context.wrote,
                on_beat=self.context.beat,
                should_stop=lambda: self.context.must_stop,
                turns=self.turns,
            )

    def _exemplars(self, path: Path) -> Generator[Frame, None, None]:
        """See ``exemplar_frames``. Of the whole video, also in a segment of a split job."""
        if wanted := frozenset(self.query.exemplar_frames):
            with VideoJob._open(self, path, len(wanted), only=wanted) as source:
                yield from exemplar_frames(source, self.query, self.context.beat)

    @property
    def _options(self) -> Options:
        """How the video is read."""
        options = self.spec.options
        return forward_options(options) if self.spec.is_edited else options

    @cached_property
    def query(self) -> Query:
        return query_of(self.spec)
