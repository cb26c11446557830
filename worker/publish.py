"""The results of a video, from local parts to where everybody reads them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import shoal
from shoal import formats
from shoal.formats.tables import Tables
from shoal.outputs import AnyOutput
from shoal.results import (
    ENDINGS,
    EngineMetadata,
    Metadata,
    VideoMetadata,
    WorkerMetadata,
    content_type,
    result_name,
    result_uri,
)
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.storage.files import writing
from worker.link import Done, Run
from worker.making import Made, Scene, finish
from worker.parts import Parts
from worker.predictors.base import Predictor
from worker.summary import Summary
from worker.video.frame import VideoInfo


class Publisher:
    """Writes the outputs first, the metadata last: who sees it sees everything."""

    def __init__(
        self,
        order: Run,
        predictor: Predictor,
        settings: Settings,
        work_dir: Path,
        why_engine: str,
        *,
        may_write: Callable[[], None],
    ) -> None:
        """
        Args:
            may_write: returns if the job is still this attempt's, and raises if not.
        """
        self.order = order
        self.spec = order.spec
        self.predictor = predictor
        self.settings = settings
        self.work_dir = work_dir
        self.why_engine = why_engine
        self._may_write = may_write
        self._files: dict[str, Path] = {}  # by kind, all but the metadata
        self._sizes: dict[str, int] = {}  # result name -> bytes
        self._seconds: dict[str, float] = {}  # that outputs took to be finished, by kind

    def make_results(
        self, parts: Parts, scene: Scene, summary: Summary, check: Callable[[], None]
    ) -> None:
        """Join the parts and make what is made of them: all but the metadata.

        Args:
            check: raises Stopped if the job must go.
        """
        with writing("the work directory"):
            files = {
                each.kind: parts.join(each, self.work_dir / each.piece) for each in parts.streams
            }
        tables = Tables(
            masks=files["masks"],
            frames=files["frames"],
            labels=self.spec.labels,
            stem=self.spec.stem,
            width=scene.info.width,
            height=scene.info.height,
            fps=round(summary.output_fps, 3),
            duration_s=round(summary.extent.last_time_s, 3),
        )
        made = Made(scene, summary.extent, tables, files, self.work_dir, check)
        for output in self.spec.options.outputs:
            self._files[output.kind] = self._finish(output, made)
        self._files |= made.beside
        self._files["frames"] = files["frames"]
        self._files["summary"] = path = self.work_dir / "summary.json"
        with writing("the work directory"):
            formats.write("summary", tables, path)

    def put_results(self) -> None:
        """Publish what is made."""
        for kind, path in self._files.items():
            self._put(path, kind)

    def _finish(self, output: AnyOutput, made: Made) -> Path:
        start = time.perf_counter()
        with writing("the work directory"):
            path = finish(output, made, self.work_dir / f"output{ENDINGS[output.kind]}")
        self._seconds[output.kind] = time.perf_counter() - start
        return path

    def put_metadata(
        self, info: VideoInfo, summary: Summary, parts: Parts, timings: Mapping[str, float]
    ) -> Done:
        """Publish the metadata.

        Args:
            timings: seconds by stage.

        Returns:
            The names and sizes of all results, and what the metadata says in short.
        """
        metadata = self._metadata(info, summary, parts, timings)
        path = self.work_dir / "metadata.json"
        with writing("the work directory"):
            path.write_text(metadata.model_dump_json(indent=2) + "\n")
        self._put(path, "metadata")
        return Done(results=self._sizes, summary=metadata.summary(), timings=dict(metadata.timings))

    def _put(self, path: Path, kind: str) -> None:
        name = result_name(self.spec, kind)
        uri = result_uri(self.spec, name)
        self._may_write()
        storage_for(uri, self.settings).put(path, uri, content_type(name))
        self._sizes[name] = path.stat().st_size

    def _metadata(
        self, info: VideoInfo, summary: Summary, parts: Parts, timings: Mapping[str, float]
    ) -> Metadata:
        extent = summary.extent
        seconds = {**timings, **summary.busy_s}
        for kind, spent in self._seconds.items():
            seconds[kind] = seconds.get(kind, 0.0) + spent
        kinds = [*self._files, "metadata"]
        return Metadata(
            job_id=self.spec.id,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            video=VideoMetadata(
                uri=self.spec.uri,
                version=self.spec.version,
                bytes=self.spec.size,
                width=info.width,
                height=info.height,
                duration_s=round(extent.last_time_s, 3),
                frames_read=extent.frames_read,
                codec=info.codec,
                rotation=info.rotation,
                truncated=extent.truncated,
                missing_s=extent.missing_s,
                decode_errors=extent.decode_errors,
            ),
            prompts=list(self.spec.prompts),
            objects=list(self.spec.objects),
            remove_objects=list(self.spec.remove_objects),
            options=self.spec.options,
            frames_processed=summary.frames_written,
            original_fps=round(info.fps, 3),
            output_fps=round(summary.output_fps, 3),
            parts=parts.count,
            resumed=parts.resumed,
            objects_detected=summary.objects_detected,
            objects_per_prompt=summary.objects_per_prompt,
            outputs={kind: result_uri(self.spec, result_name(self.spec, kind)) for kind in kinds},
            engine=EngineMetadata(
                name=self.predictor.name,
                device=self.predictor.device,
                versions=self.predictor.versions,
                reason=self.why_engine,
            ),
            timings={name: round(spent, 3) for name, spent in seconds.items()},
            worker=WorkerMetadata(
                name=self.order.worker,
                host=socket.gethostname(),
                model_loads=self.order.model_loads,
                attempt=self.order.attempt,
            ),
            shoal_version=shoal.__version__,
        )
