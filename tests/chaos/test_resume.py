"""Workers that go in the middle of a video: another one continues, and nobody can tell."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from shoal.model.job import Options, State
from shoal.model.outputs import KINDS
from shoal.model.record import Record
from shoal.queue.queue import JobQueue
from shoal.results.layout import masks_name, metadata_name, overlay_name, parts_prefix
from shoal.settings import Settings
from shoal.storage import storage_for
from tests.attempts import Job, times
from tests.chaos.crawling import SHORT_LEASE, let_go
from tests.conftest import SubmitClip
from tests.fakes import Counting
from tests.running import Processes, eventually, is_over, model_process

FRAMES = 100  # of the generated clip
ENGINE = "tests.chaos.crawling:CrawlingCounting"
PART_S = "0.6"
EVERY_OUTPUT = [kind for kind in KINDS if kind != "redact"]


class Steps:
    """The frames that were stepped, as the engines note them: (process, index) in order."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> list[tuple[int, int]]:
        lines = self.path.read_text().split("\n")[:-1] if self.path.exists() else []
        return [(int(pid), int(index)) for pid, index in (line.split() for line in lines)]

    def redone(self) -> list[int]:
        """Indices that were stepped more than once."""
        counts = Counter(index for _, index in self.all())
        return sorted(index for index, count in counts.items() if count > 1)


@pytest.fixture
def steps(tmp_path: Path, processes: Processes) -> Steps:
    path = tmp_path / "steps"
    processes.env |= {"SHOAL_STEPS": str(path), "SHOAL_PART_S": PART_S}
    return Steps(path)


def events(queue: JobQueue, job_id: str, name: str) -> list[dict[str, Any]]:
    return [each.detail for each in queue.records.timeline(job_id) if each.event == name]


def wait_parts(processes: Processes, job_id: str, count: int) -> None:
    eventually(
        lambda: len(events(processes.queue, job_id, "part")) >= count, f"{count} parts of {job_id}"
    )


def done(processes: Processes, job_id: str) -> Record:
    record = processes.wait_state(job_id, "succeeded", "failed")
    assert record.state == State.SUCCEEDED, record.error
    return record


def assert_one_result(
    record: Record, settings: Settings, tmp_path: Path, engine: Callable[[], Any] = Counting
) -> None:
    """The results are those of a run that nothing disturbed, and nothing else is left."""
    tmp_path = tmp_path / "straight"
    tmp_path.mkdir()
    clip = Path(record.spec.uri.removeprefix("file://"))
    options = record.spec.options.model_dump()
    straight = Job(clip, tmp_path, engine, record.spec.prompts, **options)
    straight.attempt()
    folder = Path(record.spec.results_prefix.removeprefix("file://"))
    assert pq.read_table(folder / masks_name(record.spec)).to_pylist() == straight.rows()
    assert times(folder / overlay_name(record.spec)) == straight.overlay_times()
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in straight.results.iterdir())
    for name in names:
        if name.endswith((".mp4", ".parquet")) or name == metadata_name(record.spec):
            continue  # compared above, or telling of the attempts
        assert (folder / name).read_bytes() == (straight.results / name).read_bytes(), name
    assert len(list(settings.data_dir.rglob(metadata_name(record.spec)))) == 1
    storage, prefix = storage_for(record.spec.results, settings), parts_prefix(record.spec)
    # Its worker removes them once that it is done is on record.
    eventually(lambda: not list(storage.entries(prefix)), "the parts to be removed")


def test_a_preempted_video_continues_where_it_was(
    processes: Processes, submit_clip: SubmitClip, settings: Settings, steps: Steps, tmp_path: Path
) -> None:
    job_id = submit_clip()
    first = processes.worker(ENGINE, SHOAL_PART_S="600", SHOAL_GRACE_S="60")
    processes.wait_frames(job_id, 20)
    first.terminate()
    assert first.wait(timeout=120) == 0
    (part,) = events(processes.queue, job_id, "part")
    assert part["frames"] >= 20
    let_go(settings)
    processes.worker(ENGINE, SHOAL_PART_S="600")
    record = done(processes, job_id)
    assert events(processes.queue, job_id, "resumed") == [{"part": 1, "frame": part["frames"] - 1}]
    assert not steps.redone()
    assert [index for _, index in steps.all()] == list(range(FRAMES))
    assert (record.attempt, record.preemptions, record.failures) == (2, 1, 0)
    assert record.summary["frames_processed"] == FRAMES
    assert_one_result(record, settings, tmp_path)


def test_a_killed_worker_costs_at_most_one_part(
    processes: Processes, submit_clip: SubmitClip, settings: Settings, steps: Steps, tmp_path: Path
) -> None:
    job_id = submit_clip(options=Options(sample_fps=0, outputs=EVERY_OUTPUT))
    first = processes.worker(ENGINE, **SHORT_LEASE)
    wait_parts(processes, job_id, 2)
    first.kill()
    first.wait()
    saved = events(processes.queue, job_id, "part")[-1]
    let_go(settings)
    processes.api()  # its reaper finds the job
    processes.worker(ENGINE)
    record = done(processes, job_id)
    (resumed,) = events(processes.queue, job_id, "resumed")
    assert resumed["part"] >= saved["number"]
    assert resumed["frame"] >= saved["frames"] - 1
    assert all(index > resumed["frame"] + Counting.LAG for index in steps.redone())
    assert {index for _, index in steps.all()} == set(range(FRAMES))
    assert_one_result(record, settings, tmp_path)


def test_a_killed_model_process_costs_at_most_one_part(
    processes: Processes, submit_clip: SubmitClip, settings: Settings, steps: Steps, tmp_path: Path
) -> None:
    job_id = submit_clip()
    worker = processes.worker(ENGINE)
    wait_parts(processes, job_id, 2)
    model_process(worker).kill()
    let_go(settings)
    record = done(processes, job_id)
    (resumed,) = events(processes.queue, job_id, "resumed")
    assert resumed["part"] >= 2
    assert all(index > resumed["frame"] + Counting.LAG for index in steps.redone())
    assert_one_result(record, settings, tmp_path)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_a_video_tracked_both_ways_continues_in_the_second_pass(
    processes: Processes,
    submit_clip: SubmitClip,
    settings: Settings,
    steps: Steps,
    tmp_path: Path,
    blow: signal.Signals,
) -> None:
    start = 80
    options = {"sample_fps": 0, "direction": "both", "start_frame": start}
    job_id = submit_clip(options=Options(**options, outputs=EVERY_OUTPUT))
    first = processes.worker(ENGINE, SHOAL_GRACE_S="60", **SHORT_LEASE)

    def is_in_second_pass() -> bool:
        progress = processes.queue.records.get(job_id).progress
        return progress.stage == "process" and progress.frames > FRAMES - start

    eventually(is_in_second_pass, "the second pass")
    first.send_signal(blow)
    first.wait(timeout=120)
    let_go(settings)
    processes.api()
    processes.worker(ENGINE)
    record = done(processes, job_id)
    (resumed,) = events(processes.queue, job_id, "resumed")
    assert 0 < resumed["frame"] <= start
    assert all(index < resumed["frame"] for index in steps.redone() if index != start)
    assert record.summary["frames_processed"] == FRAMES
    assert_one_result(record, settings, tmp_path)


def freeze(worker: subprocess.Popen[bytes], sig: signal.Signals) -> None:
    """Send a signal to a worker and its model process."""
    for process in (psutil.Process(worker.pid), model_process(worker)):
        os.kill(process.pid, sig)


def freeze_and_replace(processes: Processes, job_id: str) -> subprocess.Popen[bytes]:
    """A worker that is frozen once it has saved a part of the job; another one is to take it."""
    frozen = processes.worker(ENGINE, **SHORT_LEASE)
    wait_parts(processes, job_id, 1)
    freeze(frozen, signal.SIGSTOP)
    processes.api()
    processes.worker(ENGINE)
    return frozen


def test_a_frozen_worker_commits_nothing_when_it_wakes(
    processes: Processes, submit_clip: SubmitClip, settings: Settings, steps: Steps, tmp_path: Path
) -> None:
    job_id = submit_clip()
    frozen = freeze_and_replace(processes, job_id)
    let_go(settings)
    record = done(processes, job_id)
    told = len(processes.queue.records.timeline(job_id))
    published = Path(record.spec.results_prefix.removeprefix("file://"))
    before = {path: path.stat().st_mtime_ns for path in published.iterdir()}
    freeze(frozen, signal.SIGCONT)
    eventually(lambda: "is another worker's now" in processes.logs(), "the frozen worker to learn")
    eventually(lambda: len(processes.idle_workers()) == 2, "it to be of use again")
    assert {path: path.stat().st_mtime_ns for path in published.iterdir()} == before
    assert len(processes.queue.records.timeline(job_id)) == told
    assert processes.queue.records.get(job_id).attempt == 2
    assert_one_result(record, settings, tmp_path)


def test_a_frozen_worker_that_wakes_meanwhile_disturbs_nobody(
    processes: Processes, submit_clip: SubmitClip, settings: Settings, steps: Steps, tmp_path: Path
) -> None:
    """It can neither save a part nor remove those of the one that has the video now."""
    job_id = submit_clip()
    frozen = freeze_and_replace(processes, job_id)
    before = len(events(processes.queue, job_id, "part"))
    wait_parts(processes, job_id, before + 1)
    owner = processes.queue.records.get(job_id).worker
    freeze(frozen, signal.SIGCONT)
    eventually(lambda: "is another worker's now" in processes.logs(), "the frozen worker to learn")
    record = processes.queue.records.get(job_id)
    assert (record.state, record.worker) == (State.RUNNING, owner)
    storage = storage_for(record.spec.results, settings)
    names = {info.uri for info in storage.entries(parts_prefix(record.spec))}
    assert any("-a2.state" in name for name in names)
    let_go(settings)
    record = done(processes, job_id)
    assert (record.attempt, record.worker) == (2, owner)
    assert_one_result(record, settings, tmp_path)


def test_a_frozen_model_process_ends_with_its_parent(
    processes: Processes, submit_clip: SubmitClip, settings: Settings, steps: Steps, tmp_path: Path
) -> None:
    job_id = submit_clip()
    first = processes.worker(ENGINE, **SHORT_LEASE)
    wait_parts(processes, job_id, 1)
    model = model_process(first)
    model.suspend()
    first.kill()
    first.wait()
    eventually(lambda: is_over(model), "the model process to end, which never wakes")
    let_go(settings)
    processes.api()
    processes.worker(ENGINE)
    record = done(processes, job_id)
    assert_one_result(record, settings, tmp_path)


def test_a_cancelled_video_leaves_no_parts(
    processes: Processes, submit_clip: SubmitClip, settings: Settings, steps: Steps
) -> None:
    job_id = submit_clip()
    processes.worker(ENGINE)
    wait_parts(processes, job_id, 1)
    processes.queue.cancel(job_id)
    record = processes.wait_state(job_id, "cancelled")
    storage = storage_for(record.spec.results, settings)
    # Its worker removes them once that it is cancelled is on record.
    prefix = parts_prefix(record.spec)
    eventually(lambda: not list(storage.entries(prefix)), "the parts to be removed")


def test_a_waiting_video_that_is_cancelled_leaves_no_parts(
    processes: Processes, submit_clip: SubmitClip, settings: Settings, steps: Steps
) -> None:
    client = processes.api()
    job_id = submit_clip()
    worker = processes.worker(ENGINE)
    wait_parts(processes, job_id, 1)
    worker.terminate()
    worker.wait(timeout=120)
    record = processes.wait_state(job_id, "queued")
    storage = storage_for(record.spec.results, settings)
    assert list(storage.entries(parts_prefix(record.spec)))
    client.cancel(job_id)
    assert not list(storage.entries(parts_prefix(record.spec)))
