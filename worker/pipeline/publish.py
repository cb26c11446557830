"""The results of a video, from local parts to where everybody reads them."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import shoal
from shoal.model.job import JobSpec
from shoal.results import formats
from shoal.results.formats.tables import Tables
from shoal.results.layout import (
    AudioMetadata,
    EngineMetadata,
    Metadata,
    SamplingMetadata,
    VideoMetadata,
    WorkerMetadata,
    content_type,
    result_name,
    result_uri,
)
from shoal.storage import storage_for
from shoal.storage.files import writing
from worker.outputs.base import Made, Output, Scene
from worker.pipeline.context import JobContext
from worker.pipeline.parts import PartWriter
from worker.pipeline.summary import Summary
from worker.protocol import Done
from worker.video.frame import VideoInfo
from worker.video.position import Extent
from worker.video.sampling import Sampling


class TrackedVideo(NamedTuple):
    """A video of which every frame is tracked."""

    scene: Scene
    outputs: list[Output[Any]]
    summary: Summary
    parts: PartWriter


class Publisher:
    """Writes the outputs, then the metadata, which marks the results as complete."""

    def __init__(self, context: JobContext, engine: EngineMetadata) -> None:
        """``engine``: what has found the objects."""
        self.context = context
        self.spec = context.spec
        self.engine = engine
        self._files: dict[str, Path] = {}  # by kind, all but the metadata
        self._sizes: dict[str, int] = {}  # result name -> bytes
        self._seconds: dict[str, float] = {}  # that outputs took to be finished, by kind
        self._sounds: dict[str, AudioMetadata] = {}  # by the kind of the output

    def make_results(self, tracked: TrackedVideo) -> None:
        """Join the parts and make what is made of them: all but the metadata.

        Raises:
            Stopped: the job must stop.
        """
        scene, summary, parts = tracked.scene, tracked.summary, tracked.parts
        folder = self.context.work_dir
        with writing("the work directory"):
            files = {each.kind: parts.join(each, folder / each.piece) for each in parts.streams}
        tables = Tables(
            masks=files["masks"],
            frames=files["frames"],
            labels=self.spec.labels,
            stem=self.spec.stem,
            uri=self.spec.uri,
            width=scene.info.width,
            height=scene.info.height,
            fps=round(summary.output_fps, 3),
            duration_s=round(summary.extent.last_time_s, 3),
        )
        made = Made(scene, summary.extent, tables, files, folder, self.context.advance, parts.paths)
        for output in tracked.outputs:
            self._files[output.options.kind] = self._finish(output, made)
        self._files |= made.extras
        self._sounds = made.sounds
        self._files["frames"] = files["frames"]
        self._files["summary"] = path = folder / "summary.json"
        with writing("the work directory"):
            formats.write("summary", tables, path)

    def put_results(self) -> None:
        """Publish what is made."""
        for kind, path in self._files.items():
            self._put(path, kind)

    def _finish(self, output: Output[Any], made: Made) -> Path:
        start, options = time.perf_counter(), output.options
        with writing("the work directory"):
            path = output.finish(made, made.folder / f"output{options.ending}")
        self._seconds[options.kind] = time.perf_counter() - start
        return path

    def put_metadata(self, tracked: TrackedVideo) -> Done:
        """Publish the metadata.

        Returns:
            The names and sizes of all results, and what the metadata says in short.
        """
        metadata = self._metadata(tracked)
        path = self.context.work_dir / "metadata.json"
        with writing("the work directory"):
            path.write_text(metadata.model_dump_json(indent=2) + "\n")
        self._put(path, "metadata")
        return Done(results=self._sizes, summary=metadata.summary(), timings=dict(metadata.timings))

    def _put(self, path: Path, kind: str) -> None:
        name = result_name(self.spec, kind)
        uri = result_uri(self.spec, name)
        self.context.confirm()
        storage_for(uri, self.context.settings).put(path, uri, content_type(name))
        self._sizes[name] = path.stat().st_size

    def _metadata(self, tracked: TrackedVideo) -> Metadata:
        scene, summary, parts = tracked.scene, tracked.summary, tracked.parts
        info = scene.info
        extent, run = summary.extent, self.context.run
        seconds = {**self.context.timings(), **summary.busy_s}
        for kind, spent in self._seconds.items():
            seconds[kind] = seconds.get(kind, 0.0) + spent
        kinds = [*self._files, "metadata"]
        return Metadata(
            job_id=self.spec.id,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            video=_video(self.spec, info, extent),
            prompts=list(self.spec.prompts),
            objects=list(self.spec.objects),
            remove_objects=list(self.spec.remove_objects),
            exemplars=list(self.spec.exemplars),
            base=self.spec.base,
            edits=self.spec.edits,
            options=self.spec.options,
            frames_processed=summary.frames_written,
            sampling=_sampling(scene.sampling, summary, seconds),
            original_fps=round(extent.fps or info.fps, 3),
            audio=self._sounds.get("overlay")
            or self._sounds.get("redact")
            or AudioMetadata(state="off", reason="no output has sound"),
            output_fps=round(summary.output_fps, 3),
            parts=parts.count,
            segments=run.segments,
            resumed=parts.resumed,
            objects_detected=summary.objects_detected,
            objects_per_prompt=summary.objects_per_prompt,
            outputs={kind: result_uri(self.spec, result_name(self.spec, kind)) for kind in kinds},
            engine=self.engine,
            timings={name: round(spent, 3) for name, spent in seconds.items()},
            worker=WorkerMetadata(
                name=run.worker,
                host=socket.gethostname(),
                model_loads=run.model_loads,
                attempt=run.attempt,
            ),
            shoal_version=shoal.__version__,
        )


def _video(spec: JobSpec, info: VideoInfo, extent: Extent) -> VideoMetadata:
    return VideoMetadata(
        uri=spec.uri,
        version=spec.version,
        bytes=spec.size,
        width=info.width,
        height=info.height,
        duration_s=round(extent.last_time_s, 3),
        frames_read=extent.frames_read,
        codec=info.codec,
        rotation=info.rotation,
        truncated=extent.truncated,
        missing_s=extent.missing_s,
        decode_errors=extent.decode_errors,
        end_s=round(extent.end_s, 3),
        left_out=list(extent.left_out),
    )


def _sampling(
    sampling: Sampling, summary: Summary, seconds: Mapping[str, float]
) -> SamplingMetadata:
    estimate = 0.0
    if sampling.reason and sampling.fps and summary.frames_tracked:
        more = summary.extent.frames_read / summary.frames_tracked - 1
        estimate = seconds.get("total", 0.0) + more * seconds.get("predict", 0.0)
    return SamplingMetadata(
        fps=sampling.fps, reason=sampling.reason, all_frames_s=round(estimate, 1)
    )
