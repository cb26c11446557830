"""A split job with real workers, one of which is killed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pyarrow.parquet as pq

from shoal.model.job import State
from shoal.queue.reaper import Reaper
from shoal.results.layout import masks_name, overlay_name
from tests import media
from tests.attempts import times
from tests.processes.gate import Gate
from tests.running import Processes, eventually

FRAMES = 140


def test_a_killed_worker_costs_a_split_job_nothing(processes: Processes, gate: Gate) -> None:
    client = processes.api()
    settings, queue = processes.settings, processes.queue
    processes.env["SHOAL_PART_S"] = "0.3"
    gated = [processes.worker("tests.processes.gate:Gated", **gate.env) for _ in range(2)]
    workers = {process.pid: process for process in gated}
    eventually(lambda: len(processes.idle_workers()) == 2, "two workers", 120)
    clip = settings.data_dir / "uploads" / "clip.mp4"
    clip.parent.mkdir(parents=True, exist_ok=True)
    media.write_video(clip, frames=FRAMES)
    job = client.submit(clip.as_uri(), ["person", "ball"], sample_fps=0, split=2)

    def running() -> list[tuple[str, str]]:
        segments = client.get(job.id).segments
        return [
            (s.id, s.worker) for s in segments if s.state == "running" and s.progress.frames > 10
        ]

    eventually(lambda: len(running()) == 2, "two segments at once")
    segment, worker = running()[0]
    killed = workers[int(worker.split("-")[-2])]
    killed.kill()
    killed.wait()
    queue.redis.zadd(queue.leases_key, {segment: 1})  # its lease lapses
    Reaper(queue).sweep()
    gate.open()
    whole = client.submit(clip.as_uri(), ["person", "ball"], sample_fps=0)
    processes.worker("tests.fakes:Fake")
    record = client.wait(job.id)
    assert record.state == State.SUCCEEDED, record.error
    client.wait(whole.id)
    segments = client.get(job.id).segments
    assert [s.number for s in segments] == [1, 2, 1, 2]
    assert sum(s.attempt for s in segments) == 5
    specs = [queue.records.get(each.id).spec for each in (job, whole)]
    folders = [Path(url2pathname(urlsplit(each.results_prefix).path)) for each in specs]
    ours, theirs = (
        pq.read_table(folder / masks_name(each)).to_pylist()
        for folder, each in zip(folders, specs, strict=True)
    )
    assert ours == theirs
    assert len(ours) == 2 * FRAMES
    overlays = [
        times(folder / overlay_name(each)) for folder, each in zip(folders, specs, strict=True)
    ]
    assert overlays[0] == overlays[1]
    parts = folders[0].parent / ".parts"
    eventually(lambda: not [p for p in parts.rglob("*") if p.is_file()], "no parts to be left")
