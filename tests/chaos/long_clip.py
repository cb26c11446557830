"""``python -m tests.chaos.long_clip``: ten minutes of video, struck five times at random points,
end with the mask rows and the overlay times of a straight run.

The clip is the sample clip, repeated; workers, Valkey and API are real. ``--engine sam3`` runs
SAM3's code on a small checkpoint with random weights.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import clip
from shoal.local.valkey import Valkey
from shoal.model.job import JobSpec, Options, State
from shoal.model.record import Record
from shoal.queue.connection import connect
from shoal.queue.queue import open_queue
from shoal.results.layout import masks_name, overlay_name
from shoal.settings import Settings
from shoal.storage import storage_for
from tests.attempts import times
from tests.ports import free_port
from tests.running import (
    ROOT,
    Processes,
    eventually,
    model_process,
    sam3_environment,
    started,
)

WIDTH, HEIGHT, RATE = 320, 136, 10
# Three deaths of a model process would make the video poisonous.
BLOWS = ("SIGTERM", "SIGKILL", "SIGKILL model", "SIGKILL", "SIGKILL model")
PROMPTS = ("person", "car")
TRACKS = ("process", "part", "publish")  # stages in which the number of frames is of those written


@dataclass(frozen=True)
class Result:
    """What came of both runs.

    Attributes:
        blows: each with the written frame at which it fell.
        resumed: the frames after which the interrupted run went on.
    """

    frames: int
    rows: int
    blows: list[tuple[str, int]]
    resumed: list[int]
    same_rows: bool
    same_times: bool
    straight_s: float
    interrupted_s: float


class LongClip:
    """Runs a video twice: straight, and struck."""

    def __init__(
        self,
        processes: Processes,
        engine: str,
        env: Mapping[str, str],
        limit_s: float,
        let_go: Callable[[], None] = lambda: None,
        hold_back: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            let_go: called when nothing is to fall any more: in the straight run from the start.
            hold_back: called before the other one.
        """
        self.processes = processes
        self.queue = processes.queue
        self.engine = engine
        self.env = env
        self.limit_s = limit_s
        self.let_go = let_go
        self.hold_back = hold_back

    def run(
        self,
        video: Path,
        sample_fps: float,
        chance: random.Random,
        kinds: Sequence[str] = BLOWS,
        until: float = 0.9,
    ) -> Result:
        """
        Args:
            kinds: of blows, one each, in any order.
            until: the share of the video in which they fall; one that comes too late does not.

        Raises:
            AssertionError: one of the runs did not come to its end.
        """
        self.processes.api()
        worker = self._start()
        self.let_go()
        straight, straight_s = self._straight(video, sample_fps)
        frames = straight.summary["frames_processed"]
        order = chance.sample(kinds, len(kinds))
        points = sorted(chance.sample(range(2, int(frames * until)), len(kinds)))
        again = video.with_name(f"again-{video.name}")
        again.write_bytes(video.read_bytes())
        self.hold_back()
        began = time.monotonic()
        job_id = self._submit(again, sample_fps)
        blows = []
        for number, (kind, point) in enumerate(zip(order, points, strict=True), start=1):
            eventually(partial(self._is_at, job_id, number, point), f"{point}", self.limit_s)
            record = self.queue.records.get(job_id)
            if record.state.is_final:
                break
            blows.append((kind, record.progress.frames))
            worker = self._strike(worker, kind)
        self.let_go()
        record = self._done(job_id)
        interrupted_s = time.monotonic() - began
        resumed = [
            event.detail["frame"]
            for event in self.queue.records.timeline(job_id)
            if event.event == "resumed"
        ]
        return Result(
            frames=frames,
            rows=len(rows(straight)),
            blows=blows,
            resumed=resumed,
            same_rows=rows(record) == rows(straight),
            same_times=overlay_times(record) == overlay_times(straight),
            straight_s=straight_s,
            interrupted_s=interrupted_s,
        )

    def _start(self) -> subprocess.Popen[bytes]:
        return self.processes.worker(self.engine, **self.env)

    def _straight(self, video: Path, sample_fps: float) -> tuple[Record, float]:
        began = time.monotonic()
        record = self._done(self._submit(video, sample_fps))
        assert record.attempt == 1
        return record, time.monotonic() - began

    def _submit(self, video: Path, sample_fps: float) -> str:
        settings = self.processes.settings
        info = storage_for(video.as_uri(), settings).stat(video.as_uri())
        spec = JobSpec(
            uri=info.uri,
            version=info.version,
            size=info.size,
            prompts=PROMPTS,
            options=Options(sample_fps=sample_fps),
            results=f"{settings.results_root}/{video.stem}",
        )
        return self.queue.submit(spec)[0].id

    def _is_at(self, job_id: str, attempt: int, frames: int) -> bool:
        record = self.queue.records.get(job_id)
        progress = record.progress
        return record.state.is_final or (
            record.state == State.RUNNING
            and record.attempt >= attempt
            and progress.stage in TRACKS
            and progress.frames >= frames
        )

    def _strike(self, worker: subprocess.Popen[bytes], kind: str) -> subprocess.Popen[bytes]:
        """Returns the worker that goes on."""
        if kind == "SIGKILL model":
            model_process(worker).kill()
            return worker
        worker.send_signal(signal.Signals[kind])
        worker.wait(self.limit_s)
        return self._start()

    def _done(self, job_id: str) -> Record:
        record = self.processes.wait_state(job_id, "succeeded", "failed", timeout_s=self.limit_s)
        assert record.state == State.SUCCEEDED, record.error
        return record


def rows(record: Record) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(
        _result(record, masks_name(record.spec))
    ).to_pylist()
    return found


def overlay_times(record: Record) -> list[float]:
    return times(_result(record, overlay_name(record.spec)))


def _result(record: Record, name: str) -> Path:
    return Path(record.spec.results_prefix.removeprefix("file://")) / name


@contextmanager
def own_shoal(folder: Path) -> Iterator[Processes]:
    """A Valkey of its own, and the means to start the rest."""
    server = Valkey(folder / "valkey", free_port())
    valkey = subprocess.Popen(server.command(), stdout=subprocess.DEVNULL)
    try:
        server.wait_ready(valkey, 60).close()
        settings = Settings(
            redis_url=server.url,
            data_dir=folder / "data",
            work_dir=folder / "work",
            api_port=free_port(),
            grace_s=60,
        )
        settings.data_dir.mkdir()
        with (
            connect(settings) as connection,
            started(settings, open_queue(settings, connection), folder / "logs") as processes,
        ):
            yield processes
    finally:
        valkey.kill()
        valkey.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.long_clip", description=__doc__)
    parser.add_argument("--engine", choices=("cpu", "sam3"), default="cpu")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=int, default=RATE, help="frames per second of the clip")
    parser.add_argument("--sample-fps", type=float, default=5)
    parser.add_argument("--part-s", type=float, default=20)
    parser.add_argument("--seed", default="4")
    args = parser.parse_args()
    sample = Path(os.environ.get("SHOAL_SAMPLE_CLIP", ROOT / "demo/bikes.mp4"))
    with tempfile.TemporaryDirectory(prefix="shoal-long-") as name, own_shoal(Path(name)) as shoal:
        folder = Path(name)
        video = shoal.settings.data_dir / "long.mp4"
        frames = round(args.minutes * 60 * args.rate)
        clip.write(str(sample), str(video), frames, WIDTH, HEIGHT, args.rate)
        env = sam3_environment(folder / "sam3") if args.engine == "sam3" else {}
        env["SHOAL_PART_S"] = str(args.part_s)
        runs = LongClip(shoal, args.engine, env, limit_s=3600)
        result = runs.run(video, args.sample_fps, random.Random(args.seed))
    for field, value in vars(result).items():
        print(f"{field:15} {value}")
    return 0 if result.same_rows and result.same_times else 1


if __name__ == "__main__":
    sys.exit(main())
