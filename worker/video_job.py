"""One video in the model process: fetch, read, track, write, publish."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import shoal
from shoal.engines import AUTO
from shoal.errors import UnknownEngine, VideoTooLarge
from shoal.jobs import JobSpec
from shoal.records import Progress
from shoal.results import (
    EngineMetadata,
    Metadata,
    VideoMetadata,
    WorkerMetadata,
    content_type,
    masks_name,
    metadata_name,
    overlay_name,
    result_uri,
)
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.storage.files import writing
from worker.link import Done, Run
from worker.pipeline import Summary, process
from worker.predictors.base import Predictor
from worker.sinks.base import Sink
from worker.sinks.masks import MasksSink
from worker.sinks.overlay import OverlaySink
from worker.video.probe import Limits
from worker.video.source import Source, open_source


class Control(Protocol):
    """The job's line to the parent process."""

    def should_stop(self) -> bool: ...

    def report(self, progress: Progress, *, now: bool = False) -> None: ...

    def ask_to_publish(self) -> None: ...


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
        self.timings: dict[str, float] = {}
        self._started = time.monotonic()

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
        with self._stage("open"):
            source = self._open(path)
        with source:
            summary = self._process(source)
        self.control.ask_to_publish()
        return self._publish(source, summary)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.progress = self.progress.model_copy(update={"stage": name})
        self.control.report(self.progress, now=True)
        started = time.monotonic()
        yield
        self.timings[name] = time.monotonic() - started

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

    def _process(self, source: Source) -> Summary:
        fps = self.spec.options.sample_fps
        written_fps = min(fps, source.info.fps) if fps > 0 else source.info.fps
        self.progress.frames_expected = self._frames_expected(source, written_fps)
        sinks: list[Sink] = [
            OverlaySink(self._file(overlay_name), source.info, self.spec.prompts, written_fps),
            MasksSink(self._file(masks_name), source.info),
        ]
        with self._stage("process"):
            summary = process(
                source,
                self.predictor,
                self.spec.prompts,
                sinks,
                on_progress=self._on_frames,
                should_stop=self.control.should_stop,
            )
        self.timings |= summary.busy_s
        return summary

    def _frames_expected(self, source: Source, written_fps: float) -> int:
        """As announced; 0 where nothing is."""
        if written_fps >= source.info.fps and source.info.frames:
            expected = source.info.frames
        else:
            expected = math.ceil(source.info.duration_s * written_fps)
        limit = self.spec.options.max_frames
        return min(expected, limit) if limit and expected else expected

    def _on_frames(self, frames: int) -> None:
        self.progress.frames = frames
        self.progress.fps = round(frames / (time.monotonic() - self._started), 2)
        self.control.report(self.progress)

    def _file(self, name: Callable[[JobSpec], str]) -> Path:
        return self.work_dir / name(self.spec)

    # --- publish ---------------------------------------------------------------------------------

    def _publish(self, source: Source, summary: Summary) -> Done:
        """Overlay and masks first, the metadata last: who sees it sees everything."""
        with self._stage("publish"):
            results = {name: self._put(name) for name in (overlay_name, masks_name)}
        metadata = self._metadata(source, summary)
        with writing("the work directory"):
            self._file(metadata_name).write_text(metadata.model_dump_json(indent=2) + "\n")
        results[metadata_name] = self._put(metadata_name)
        return Done(
            results={name(self.spec): size for name, size in results.items()},
            summary=metadata.summary(),
        )

    def _put(self, name: Callable[[JobSpec], str]) -> int:
        """Publish one file; returns its size in bytes."""
        path = self._file(name)
        uri = result_uri(self.spec, path.name)
        storage_for(uri, self.settings).put(path, uri, content_type(path.name))
        return path.stat().st_size

    def _metadata(self, source: Source, summary: Summary) -> Metadata:
        info = source.info
        total = time.monotonic() - self._started
        timings = {name: round(seconds, 3) for name, seconds in self.timings.items()}
        names = {"overlay": overlay_name, "masks": masks_name, "metadata": metadata_name}
        return Metadata(
            job_id=self.spec.id,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            video=VideoMetadata(
                uri=self.spec.uri,
                version=self.spec.version,
                bytes=self.spec.size,
                width=info.width,
                height=info.height,
                duration_s=round(source.last_time_s, 3),
                frames_read=summary.frames_read,
                codec=info.codec,
                rotation=info.rotation,
                truncated=source.truncated,
                missing_s=source.missing_s,
                decode_errors=source.decode_errors,
            ),
            prompts=list(self.spec.prompts),
            options=self.spec.options,
            frames_processed=summary.frames_written,
            original_fps=round(info.fps, 3),
            output_fps=round(summary.output_fps, 3),
            objects_detected=summary.objects_detected,
            objects_per_prompt=summary.objects_per_prompt,
            outputs={key: result_uri(self.spec, name(self.spec)) for key, name in names.items()},
            engine=EngineMetadata(
                name=self.predictor.name,
                device=self.predictor.device,
                versions=self.predictor.versions,
            ),
            timings={**timings, "total": round(total, 3)},
            worker=WorkerMetadata(
                name=self.order.worker,
                host=socket.gethostname(),
                model_loads=self.order.model_loads,
                attempt=self.order.attempt,
            ),
            shoal_version=shoal.__version__,
        )
