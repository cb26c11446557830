"""Time until a video runs again: ``python benchmarks/recovery.py [--json] [--rounds N]``.

Valkey, API and workers are real, beat and lease are the defaults, the engine is ``cpu``. In each
round a running video that has saved a part is struck, and the timeline of its record tells when it
went on:

- model: the model process is killed, and the same worker goes on; also counted from the moment
  that the fresh process has its model loaded
- parent: the worker is killed as a whole, and another one that is idle goes on
- SIGTERM: until the worker has saved its part, given the video back and ended
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run by its path: benchmarks are not installed
    sys.path.insert(0, str(ROOT))

from benchmarks import clip
from benchmarks.options import clip_parser, parse
from benchmarks.report import machine, print_json, print_table
from shoal.client import Client
from shoal.local.service import Service
from shoal.local.stack import Stack, free_port
from shoal.model.worker import WorkerInfo
from shoal.settings import Settings

FRAMES = 5000  # of the clip: more than any round gets to see
PART_S = 2
POLL_S = 0.01
LIMIT_S = 300.0
GOALS = {"model": None, "model, after its reload": 1, "parent": 30, "SIGTERM": 10}


class Bench:
    """A running Shoal, and videos to strike."""

    def __init__(self, folder: Path, sample: Path) -> None:
        self.settings = Settings(data_dir=folder / "data", api_port=free_port())
        self.log = (folder / "log").open("w")
        self.stack = Stack(self.settings, workers=0, redis_url=None, log_line=self._log)
        self.client = Client(self.stack.url)
        self.video = self.settings.data_dir / "clip.mp4"
        self.workers: list[Service] = []
        self._submitted = 0
        self._env = {
            "SHOAL_WORK_DIR": str(folder / "work"),
            "SHOAL_DATA_DIR": str(self.settings.data_dir),
            "SHOAL_ENGINE": "cpu",
            "SHOAL_PART_S": str(PART_S),
        }
        self.video.parent.mkdir()
        clip.write(str(sample), str(self.video), FRAMES, 640, 272)

    def _log(self, name: str, line: str) -> None:
        print(name, line, file=self.log, flush=True)

    def start(self) -> None:
        self.stack.start()
        self._env["SHOAL_REDIS_URL"] = self.stack.redis_url or ""

    def stop(self) -> None:
        for worker in self.workers:
            worker.terminate()
            worker.wait(self.settings.grace_s)
        self.client.close()
        self.stack.stop()
        self.log.close()

    def want_workers(self, count: int) -> None:
        """Have so many, all of them idle."""
        self.workers = [worker for worker in self.workers if worker.exit_code is None]
        for number in range(len(self.workers), count):
            worker = Service(
                f"worker-{number}", [sys.executable, "-m", "worker"], self._env, self._log
            )
            worker.start()
            self.workers.append(worker)
        for worker in self.workers[count:]:
            worker.terminate()
            worker.wait(self.settings.grace_s)
        del self.workers[count:]
        wait(lambda: [w.state for w in self.infos()] == ["idle"] * count)

    def infos(self) -> list[WorkerInfo]:
        return self.client.queue().workers

    def run_video(self) -> tuple[str, Service]:
        """A video that has saved a part, and the worker that it is on."""
        self._submitted += 1
        most = FRAMES + self._submitted  # makes it a job of its own
        uri, prompts = self.video.as_uri(), ["person", "car"]
        job_id = self.client.submit(uri, prompts, sample_fps=0, max_frames=most).id
        wait(lambda: self.told(job_id, "part") > 0)
        (busy,) = [info for info in self.infos() if info.job == job_id]
        for worker in self.workers:
            if worker.process and worker.process.pid == busy.pid:
                return job_id, worker
        raise AssertionError(f"{busy.name} is not ours")

    def told(self, job_id: str, event: str) -> float:
        """When the timeline last told of it, in seconds since the epoch; 0 if it did not."""
        return max((e.at for e in self.client.timeline(job_id) if e.event == event), default=0.0)

    def end_video(self, job_id: str) -> None:
        self.client.cancel(job_id)
        self.client.wait(job_id)

    # --- the rounds ------------------------------------------------------------------------------

    def kill_model(self) -> tuple[float, float]:
        """Seconds until it runs again, from the blow and from when the model is loaded again."""
        self.want_workers(1)
        job_id, worker = self.run_video()
        loads = self.infos()[0].model_loads
        assert worker.process is not None
        (model,) = psutil.Process(worker.process.pid).children()
        struck = time.time()
        model.kill()
        wait(lambda: self._is_loaded(loads + 1))
        loaded = time.time()
        wait(lambda: self.told(job_id, "resumed") > struck)
        again = self.told(job_id, "resumed")
        self.end_video(job_id)
        return again - struck, max(0.0, again - loaded)

    def _is_loaded(self, loads: int) -> bool:
        (info,) = self.infos()
        return info.model_loads == loads and info.state != "starting"

    def kill_parent(self) -> float:
        self.want_workers(2)
        job_id, worker = self.run_video()
        struck = time.time()
        worker.kill()
        wait(lambda: self.told(job_id, "resumed") > struck)
        again = self.told(job_id, "resumed")
        self.end_video(job_id)
        return again - struck

    def terminate(self) -> float:
        self.want_workers(1)
        job_id, worker = self.run_video()
        struck = time.time()
        worker.terminate()
        wait(lambda: worker.exit_code is not None)
        free = time.time()
        assert worker.exit_code == 0
        self.end_video(job_id)
        return free - struck


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(POLL_S)


def measure(bench: Bench, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in GOALS}
    for _ in range(rounds):
        again, after_reload = bench.kill_model()
        found["model"].append(again)
        found["model, after its reload"].append(after_reload)
        found["parent"].append(bench.kill_parent())
        found["SIGTERM"].append(bench.terminate())
    return found


def main() -> None:
    parser = clip_parser(__doc__, "any video")
    parser.add_argument("--rounds", type=int, default=7, help="[default: 7]")
    options = parse(parser)
    print(machine(("rq", "redis", "av", "onnxruntime")), flush=True)
    with tempfile.TemporaryDirectory(prefix="shoal-benchmark-") as name:
        bench = Bench(Path(name), options.clip)
        try:
            bench.start()
            found = measure(bench, options.rounds)
        finally:
            bench.stop()
    medians = {name: statistics.median(values) for name, values in found.items()}
    rows = []
    for name, values in found.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        goal = f"<= {GOALS[name]}" if GOALS[name] else ""
        rows.append((name, str(len(values)), f"{medians[name]:.2f}", spread, goal))
    print_table(("struck", "rounds", "median, s", "range", "goal"), rows)
    if options.json:
        keys = ("model_s", "model_after_reload_s", "parent_s", "sigterm_s")
        print_json(
            {key: round(value, 3) for key, value in zip(keys, medians.values(), strict=True)}
        )


if __name__ == "__main__":
    main()
