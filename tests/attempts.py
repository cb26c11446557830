"""Attempts at a video without a queue: a ``VideoJob`` on a line of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pyarrow.parquet as pq

from shoal.errors import Stopped
from shoal.model.job import JobSpec, Options
from shoal.model.prompts import Removal
from shoal.model.record import Progress
from shoal.results.layout import masks_name, metadata_name, overlay_name, parts_prefix
from shoal.results.parts import remove_parts
from shoal.settings import Settings
from shoal.storage import storage_for
from tests.media import seconds
from worker.engines.base import Predictor
from worker.pipeline.forecast import Speed
from worker.pipeline.split.phases import job_class
from worker.protocol import Done, HandOver, Run, StopReason


@dataclass
class Line:
    """A control that stops the video as soon as ``stop_at`` frames are written."""

    stop_at: int | None = None
    reason: StopReason = StopReason.PREEMPTED
    lost_at: int | None = None  # the commit, counted from 1, that finds the lease lost
    why: StopReason | None = None
    commits: int = 0
    beats: int = 0
    events: list[tuple[str, dict[str, int]]] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)

    def report(self, progress: Progress, *, now: bool = False) -> None:
        if not self.stages or self.stages[-1] != progress.stage:
            self.stages.append(progress.stage)
        if progress.stage == "process" and progress.frames == self.stop_at:
            self.why = self.reason

    def beat(self) -> None:
        self.beats += 1

    def record_event(self, event: str, **detail: int) -> None:
        self.events.append((event, detail))

    def ask_to_commit(self) -> None:
        self.commits += 1
        if self.commits == self.lost_at or self.why in (StopReason.CANCELLED, StopReason.TIMEOUT):
            raise Stopped

    def named(self, event: str) -> list[dict[str, int]]:
        return [detail for name, detail in self.events if name == event]


class Job:
    """One job, attempted again and again."""

    def __init__(
        self,
        video: Path,
        folder: Path,
        load: Callable[[], Predictor],
        prompts: tuple[str, ...] = ("person", "ball"),
        part_s: float = 3600,
        remove_objects: tuple[Removal, ...] = (),
        **options: Any,
    ) -> None:
        self.settings = Settings(data_dir=folder, file_roots=(video.parent,), part_s=part_s)
        self.storage = storage_for(video.as_uri(), self.settings)
        info = self.storage.stat(video.as_uri())
        self.spec = JobSpec(
            uri=info.uri,
            version=info.version,
            size=info.size,
            prompts=prompts,
            remove_objects=remove_objects,
            options=Options(**({"sample_fps": 0} | options)),
            results=f"{self.settings.results_root}/video",
        )
        self.load = load
        self.attempts = 0
        self.speed = Speed()
        self.folder = folder

    def attempt(self, line: Line | None = None) -> Done:
        """A new attempt, with a predictor of its own. Raises what the job does."""
        done = self.order(self.spec, line)
        assert isinstance(done, Done)
        remove_parts(self.spec, self.settings)  # as the parent does
        return done

    def order(self, spec: JobSpec, line: Line | None = None, **phase: Any) -> Done | HandOver:
        """A new attempt at the job, a segment of it, or a phase of a split job."""
        self.attempts += 1
        work_dir = self.folder / f"work-{self.attempts}"
        work_dir.mkdir()
        order = Run(
            spec=spec,
            worker="test",
            attempt=self.attempts,
            model_loads=1,
            work_dir=str(work_dir),
            **phase,
        )
        kind = job_class(order)
        return kind(order, line or Line(), self.load(), self.settings, speed=self.speed).run()

    @property
    def results(self) -> Path:
        return self.folder / "results" / "video" / self.spec.id

    @property
    def parts(self) -> dict[str, Path]:
        """What is kept of unfinished attempts, by name."""
        found = self.storage.entries(parts_prefix(self.spec))
        return {
            path.name: path for info in found if (path := Path(info.uri.removeprefix("file://")))
        }

    def rows(self) -> list[dict[str, Any]]:
        return self.table().to_pylist()

    def table(self) -> pa.Table:
        return pq.read_table(self.results / masks_name(self.spec))

    def metadata(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads((self.results / metadata_name(self.spec)).read_text())
        return parsed

    def overlay_times(self) -> list[float]:
        return times(self.results / overlay_name(self.spec))


def times(overlay: Path) -> list[float]:
    """Seconds of each frame of a video, every one decoded."""
    with av.open(str(overlay)) as container:
        return [seconds(frame) for frame in container.decode(video=0)]
