"""The results of a video, from local parts to where everybody reads them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import shoal
from shoal.jobs import JobSpec
from shoal.results import (
    EngineMetadata,
    Metadata,
    Tracks,
    VideoMetadata,
    WorkerMetadata,
    content_type,
    masks_name,
    metadata_name,
    overlay_name,
    result_uri,
    tracks_name,
)
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.storage.files import writing
from worker.join import join
from worker.link import Done, Run
from worker.parts import Parts
from worker.predictors.base import Predictor
from worker.summary import Summary
from worker.tracks import read_tracks
from worker.video.frame import VideoInfo

# Kinds of files that a part has, and the results that they become.
OVERLAY, MASKS = "overlay.mp4", "masks.parquet"
RESULTS: dict[str, Callable[[JobSpec], str]] = {OVERLAY: overlay_name, MASKS: masks_name}


class Publisher:
    """Writes overlay, masks and tracks first, the metadata last: who sees it sees everything."""

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
        self._sizes: dict[str, int] = {}  # result name -> bytes
        self._masks: Path | None = None

    def put_results(self, parts: Parts) -> None:
        """Join the parts and publish all but the metadata."""
        for kind, name in RESULTS.items():
            with writing("the work directory"):
                whole = join(parts.paths(kind), self.work_dir / kind)
            self._put(whole, name(self.spec))
            if kind == MASKS:
                self._masks = whole

    def put_metadata(
        self, info: VideoInfo, summary: Summary, parts: Parts, timings: Mapping[str, float]
    ) -> Done:
        """Publish the metadata.

        Args:
            timings: seconds by stage.

        Returns:
            The names and sizes of all results, and what the metadata says in short.
        """
        self._put_tracks(summary.extent.last_time_s, summary.output_fps)
        metadata = self._metadata(info, summary, parts, timings)
        path = self.work_dir / "metadata.json"
        with writing("the work directory"):
            path.write_text(metadata.model_dump_json(indent=2) + "\n")
        self._put(path, metadata_name(self.spec))
        return Done(results=self._sizes, summary=metadata.summary(), timings=dict(metadata.timings))

    def _put_tracks(self, duration_s: float, fps: float) -> None:
        assert self._masks is not None, "put_results comes first"
        tracks = Tracks(duration_s=round(duration_s, 3), tracks=read_tracks(self._masks, fps))
        path = self.work_dir / "tracks.json"
        with writing("the work directory"):
            path.write_text(tracks.model_dump_json() + "\n")
        self._put(path, tracks_name(self.spec))

    def _put(self, path: Path, name: str) -> None:
        uri = result_uri(self.spec, name)
        self._may_write()
        storage_for(uri, self.settings).put(path, uri, content_type(name))
        self._sizes[name] = path.stat().st_size

    def _metadata(
        self, info: VideoInfo, summary: Summary, parts: Parts, timings: Mapping[str, float]
    ) -> Metadata:
        extent = summary.extent
        seconds = {**timings, **summary.busy_s}
        names = {
            "overlay": overlay_name,
            "masks": masks_name,
            "tracks": tracks_name,
            "metadata": metadata_name,
        }
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
            outputs={key: result_uri(self.spec, name(self.spec)) for key, name in names.items()},
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
