"""One video in the model process: fetch, continue or begin, track, write, publish."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, Protocol

import av

import shoal
from shoal import engines, tracing
from shoal.errors import CheckpointUnusable, Stopped, UnknownEngine, VideoTooLarge
from shoal.jobs import JobSpec
from shoal.prompts import check_fits
from shoal.records import Progress
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.storage.files import writing
from worker.checkpoint import Checkpoint
from worker.link import Done, Run, Why
from worker.making import Scene, is_rendered, streams
from worker.part_state import Origin, PartState
from worker.part_store import PartStore
from worker.parts import Parts
from worker.passes import Passes, expected_frames
from worker.pipeline import process
from worker.predictors import find_obstacle
from worker.predictors.base import Predictor, Query
from worker.publish import Publisher
from worker.stopwatch import Stopwatch
from worker.summary import Summary
from worker.video.feed import Feed
from worker.video.frame import VideoInfo
from worker.video.probe import Limits
from worker.video.source import Source, open_source

log = logging.getLogger(__name__)


class Control(Protocol):
    """The job's line to the parent process."""

    why: Why | None  # it must stop

    def report(self, progress: Progress, *, now: bool = False) -> None: ...

    def happened(self, event: Literal["part", "resumed"], **detail: int) -> None: ...

    def ask_to_commit(self) -> None: ...


class VideoJob:
    """Processes one video with a loaded predictor."""

    def __init__(
        self,
        order: Run,
        control: Control,
        predictor: Predictor,
        settings: Settings,
        why_engine: str = "",
    ) -> None:
        self.order = order
        self.spec: JobSpec = order.spec
        self.control = control
        self.predictor = predictor
        self.settings = settings
        self.why_engine = why_engine  # why the worker runs this engine
        self.work_dir = Path(order.work_dir)
        self.progress = Progress()
        self.stopwatch = Stopwatch()
        self.continued: PartState | None = None  # where an earlier attempt had come to
        self.origin = Origin(
            job_id=self.spec.id,
            prompts=self.spec.prompts,
            made_by={
                **predictor.versions,
                "engine": predictor.name,
                "shoal": shoal.__version__,
                "av": av.__version__,
            },
        )
        self.store = PartStore(
            self.spec,
            order.attempt,
            settings,
            self.work_dir / "parts",
            may_write=control.ask_to_commit,
        )

    def run(self) -> Done:
        """
        Returns:
            The names and sizes of the published results, and their summary.

        Raises:
            Stopped: the parent said so.
            ShoalError: with the cause.
        """
        self._check_engine()
        with self._stage("fetch"):
            path = self._fetch()
            self.continued = self.store.newest(self.origin, on_file=self._stop_if_asked)
        try:
            scene, summary, parts = self._process(path)
        except CheckpointUnusable as error:
            log.warning("job %s starts over: %s", self.spec.id, error)
            self.continued = None
            self.control.ask_to_commit()
            self.store.clear()
            scene, summary, parts = self._process(path)
        publisher = Publisher(
            self.order,
            self.predictor,
            self.settings,
            self.work_dir,
            self.why_engine,
            may_write=self.control.ask_to_commit,
        )
        self.progress.frames = 0
        with self._stage("render"):
            publisher.make_results(parts, scene, summary, self._on_rendered)
        self.progress.frames = summary.frames_written
        with self._stage("publish"):
            publisher.put_results()
        # The parts stay until the parent has recorded the success: a death in between costs little.
        return publisher.put_metadata(scene.info, summary, parts, self._timings())

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self._enter(name)
        job_id, attempt = self.spec.id, self.order.attempt
        with self.stopwatch.stage(name), tracing.span(name, job_id, attempt=attempt):
            yield

    def _enter(self, stage: str) -> None:
        self.progress = self.progress.model_copy(update={"stage": stage})
        self.control.report(self.progress, now=True)

    def _timings(self) -> dict[str, float]:
        """Seconds by stage, with those of the attempts that this one continues."""
        earlier = self.continued.timings if self.continued else {}
        return dict(Counter(earlier) + Counter(self.stopwatch.so_far()))

    def _stop_if_asked(self) -> None:
        if self.control.why:
            raise Stopped

    # --- before the first frame ------------------------------------------------------------------

    def _check_engine(self) -> None:
        self._check_choice()
        if self.predictor.name in engines.names():  # with 'auto' another one was able
            asked = engines.features(self.spec.options, self.spec.objects, self.spec.remove_objects)
            engines.check(self.predictor.name, self.spec.prompts, asked)

    def _check_choice(self) -> None:
        wanted = self.spec.options.engine
        if wanted in (engines.AUTO, self.predictor.name):
            return
        if obstacle := find_obstacle(wanted):
            raise obstacle
        ours = f"this worker runs {self.predictor.name!r}"
        if self.why_engine:
            ours += f" ({self.why_engine})"
        raise UnknownEngine(
            f"the job asks for engine {wanted!r}, {ours}",
            hint=f"Start a worker with SHOAL_ENGINE={wanted}, or submit with 'auto'.",
        )

    def _fetch(self) -> Path:
        storage = storage_for(self.spec.uri, self.settings)
        size = storage.stat(self.spec.uri).size
        if size > self.settings.max_video_bytes:
            limit = self.settings.max_video_bytes
            raise VideoTooLarge(f"the video has {size} bytes, the limit is {limit}")
        with writing("the work directory"):
            self.store.folder.mkdir()
        return storage.fetch(self.spec.uri, self.spec.version, self.work_dir)

    def _reopen(self, path: Path, *, every: bool = False) -> Source:
        return self._open(path, max_frames=0, every=every)

    def _open(self, path: Path, max_frames: int, *, every: bool = False) -> Source:
        options = self.spec.options
        return open_source(
            path,
            sample_fps=0 if every else options.sample_fps,
            max_frames=max_frames,
            start_frame=options.start_frame,
            sequence_fps=options.sequence_fps,
            allow_truncated=options.allow_truncated,
            also=self.query.frames,
            limits=Limits(
                max_pixels=self.settings.max_pixels,
                max_duration_s=self.settings.max_duration_s,
                max_fps=self.settings.max_fps,
            ),
        )

    def _enter_pass(self, passes: Passes, source: Source) -> Feed:
        """Go to where the current pass begins or continues. That may take its time."""
        if passes.is_short_way:
            return source
        resumes = self.continued is not None and passes.at is self.continued.checkpoint

        def on_picture() -> None:
            self._stop_if_asked()
            self.progress.frames += 1  # passed by
            self.control.report(self.progress)

        self.progress.frames = 0
        with self._stage("resume" if resumes else "seek"):
            feed = passes.enter(source, on_picture)
        self.progress.frames = passes.at.summary.frames_written
        if resumes:
            self._tell_resumed(passes.frame)
        return feed

    def _tell_resumed(self, frame: int) -> None:
        number = self.continued.number if self.continued else 0
        log.info("job %s continues after part %d, frame %d", self.spec.id, number, frame)
        self.control.happened("resumed", part=number, frame=frame)

    # --- the frames ------------------------------------------------------------------------------

    def _process(self, path: Path) -> tuple[Scene, Summary, Parts]:
        begun = self.continued.checkpoint if self.continued else None
        passes = Passes(self.spec.options, self.predictor.tracking_fps, begun)
        parts: Parts | None = None
        while True:
            with self._stage("open"):
                source = self._open(path, passes.max_frames)
            with source:
                check_fits(self.spec.objects, source.info.width, source.info.height)
                scene = self._scene(path, source.info)
                parts = parts or self._parts(scene)
                if passes.at.complete:
                    self._tell_resumed(passes.at.summary.extent.frames_read - 1)
                    return scene, passes.at.summary, parts
                feed = self._enter_pass(passes, source)
                if passes.at.survey and parts.is_part_due():
                    parts.close_part(passes.at)  # a long survey is not made twice
                summary = self._track(feed, parts, passes.at)
            if not passes.turn(summary):
                if is_rendered(self.spec.options.outputs):  # that may take long
                    parts.close_part(Checkpoint(summary=summary, complete=True))
                return scene, summary, parts
            parts.close_part(passes.at)

    def _track(self, feed: Feed, parts: Parts, at: Checkpoint) -> Summary:
        with self._stage("process"):
            return process(
                feed,
                self.predictor,
                self.query,
                parts,
                checkpoint=at,
                on_progress=self._on_frames,
                should_stop=lambda: self.control.why is not None,
            )

    @cached_property
    def query(self) -> Query:
        spec, options = self.spec, self.spec.options
        return Query(
            prompts=spec.prompts,
            objects=spec.objects,
            remove_objects=spec.remove_objects,
            max_objects=options.max_objects,
            score_threshold=options.score_threshold,
        )

    def _scene(self, path: Path, info: VideoInfo) -> Scene:
        written_fps = min(self.spec.options.sample_fps or info.fps, info.fps)
        return Scene(self.spec, path, info, written_fps, partial(self._reopen, path))

    def _parts(self, scene: Scene) -> Parts:
        self.progress.frames_expected = expected_frames(scene.info, self.spec.options)
        return Parts(
            self.store,
            self.origin,
            self.continued,
            streams=streams(scene),
            part_s=self.settings.part_s,
            must_close=lambda: self.control.why is Why.PREEMPTED,
            timings=self._timings,
            saving=self._saving,
        )

    def _on_frames(self, frames: int) -> None:
        earlier = self.continued.checkpoint.summary.frames_written if self.continued else 0
        self.progress.frames = frames
        self.progress.fps = round((frames - earlier) / self.stopwatch.so_far()["total"], 2)
        self.control.report(self.progress)

    def _on_rendered(self) -> None:
        self._stop_if_asked()
        self.progress.frames += 1
        self.control.report(self.progress)

    @contextmanager
    def _saving(self, state: PartState) -> Iterator[None]:
        """Tell of a part: before, since its upload may take long, and when it is done."""
        self._enter("part")
        yield
        frames = state.checkpoint.summary.frames_written
        self.control.happened("part", number=state.number, frames=frames)
        self._enter("process")
