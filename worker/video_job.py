"""One video in the model process: fetch, continue or begin, track, write, publish."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import av

import shoal
from shoal.engines import AUTO
from shoal.errors import CheckpointUnusable, Stopped, UnknownEngine, VideoTooLarge
from shoal.jobs import JobSpec
from shoal.records import Progress
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.storage.files import writing
from worker.link import Done, Run, Why
from worker.part_state import Origin, PartState
from worker.part_store import PartStore
from worker.parts import Parts
from worker.pipeline import process
from worker.predictors.base import Predictor
from worker.publish import MASKS, OVERLAY, Publisher
from worker.sinks.base import Sink
from worker.sinks.masks import MasksSink
from worker.sinks.overlay import OverlaySink
from worker.stopwatch import Stopwatch
from worker.summary import Summary
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
        self, order: Run, control: Control, predictor: Predictor, settings: Settings
    ) -> None:
        self.order = order
        self.spec: JobSpec = order.spec
        self.control = control
        self.predictor = predictor
        self.settings = settings
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
        try:
            return self._run()
        except Stopped:
            if self.control.why is Why.CANCELLED:
                self.store.clear()
            raise

    def _run(self) -> Done:
        self._check_engine()
        with self._stage("fetch"):
            path = self._fetch()
            self.continued = self.store.newest(self.origin, on_file=self._stop_if_asked)
        try:
            source, summary, parts = self._process(path)
        except CheckpointUnusable as error:
            log.warning("job %s starts over: %s", self.spec.id, error)
            self.continued = None
            self.control.ask_to_commit()
            self.store.clear()
            source, summary, parts = self._process(path)
        publisher = Publisher(self.order, self.predictor, self.settings, self.work_dir)
        with self._stage("publish"):
            self.control.ask_to_commit()
            publisher.put_results(parts)
        self.control.ask_to_commit()
        # The parts stay until the parent has recorded the success: a death in between costs little.
        return publisher.put_metadata(source, summary, parts, self._timings())

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self._enter(name)
        with self.stopwatch.stage(name):
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
        wanted = self.spec.options.engine
        if wanted not in (AUTO, self.predictor.name):
            raise UnknownEngine(
                f"the job asks for engine {wanted!r}, this worker runs {self.predictor.name!r}",
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

    def _open(self, path: Path) -> Source:
        options = self.spec.options
        return open_source(
            path,
            sample_fps=options.sample_fps,
            max_frames=options.max_frames,
            sequence_fps=options.sequence_fps,
            allow_truncated=options.allow_truncated,
            limits=Limits(
                max_pixels=self.settings.max_pixels,
                max_duration_s=self.settings.max_duration_s,
                max_fps=self.settings.max_fps,
            ),
        )

    def _resume(self, source: Source, state: PartState) -> None:
        """Have the source go on where the state ends. Counting there may take its time."""
        checkpoint = state.checkpoint

        def on_picture() -> None:
            self._stop_if_asked()
            self.progress.frames += 1  # passed by
            self.control.report(self.progress)

        with self._stage("resume"):
            source.resume(checkpoint.position, checkpoint.picture, on_picture)
        self.progress.frames = checkpoint.summary.frames_written
        frame = checkpoint.position.mark.index
        log.info("job %s continues after part %d, frame %d", self.spec.id, state.number, frame)
        self.control.happened("resumed", part=state.number, frame=frame)

    # --- the frames ------------------------------------------------------------------------------

    def _process(self, path: Path) -> tuple[Source, Summary, Parts]:
        with self._stage("open"):
            source = self._open(path)
        with source:
            fps = self.spec.options.sample_fps
            written_fps = min(fps, source.info.fps) if fps > 0 else source.info.fps
            self.progress.frames_expected = self._frames_expected(source, written_fps)
            if self.continued:
                self._resume(source, self.continued)
            parts = self._parts(source, written_fps)
            with self._stage("process"):
                summary = process(
                    source,
                    self.predictor,
                    self.spec.prompts,
                    parts,
                    checkpoint=self.continued.checkpoint if self.continued else None,
                    on_progress=self._on_frames,
                    should_stop=lambda: self.control.why is not None,
                )
        return source, summary, parts

    def _parts(self, source: Source, written_fps: float) -> Parts:
        def open_sink(kind: str, path: Path) -> Sink:
            if kind == OVERLAY:
                return OverlaySink(path, source.info, self.spec.prompts, written_fps)
            return MasksSink(path, source.info)

        return Parts(
            self.store,
            self.origin,
            self.continued,
            kinds=(OVERLAY, MASKS),
            open_sink=open_sink,
            part_s=self.settings.part_s,
            must_close=lambda: self.control.why is Why.PREEMPTED,
            timings=self._timings,
            saving=self._saving,
        )

    def _frames_expected(self, source: Source, written_fps: float) -> int:
        """As announced; 0 where nothing is."""
        if written_fps >= source.info.fps and source.info.frames:
            expected = source.info.frames
        else:
            expected = math.ceil(source.info.duration_s * written_fps)
        limit = self.spec.options.max_frames
        return min(expected, limit) if limit and expected else expected

    def _on_frames(self, frames: int) -> None:
        earlier = self.continued.checkpoint.summary.frames_written if self.continued else 0
        self.progress.frames = frames
        self.progress.fps = round((frames - earlier) / self.stopwatch.so_far()["total"], 2)
        self.control.report(self.progress)

    @contextmanager
    def _saving(self, state: PartState) -> Iterator[None]:
        """Tell of a part: before, since its upload may take long, and when it is done."""
        self._enter("part")
        yield
        frames = state.checkpoint.summary.frames_written
        self.control.happened("part", number=state.number, frames=frames)
        self._enter("process")
