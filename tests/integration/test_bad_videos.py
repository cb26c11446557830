"""Every kind of bad input through a real worker: each has its code, and the worker lives on."""

from __future__ import annotations

import resource
from pathlib import Path

import psutil
import pytest

from shoal.model.job import State
from shoal.model.record import Record
from tests import media
from tests.conftest import SubmitClip
from tests.running import Processes, model_process
from tests.security import bombs

ONE_MB = 1 << 20


def failed(processes: Processes, job_id: str, code: str) -> Record:
    """The record of a job once it has failed, with this code and a hint."""
    record = processes.wait_state(job_id, "failed", "succeeded", timeout_s=120)
    assert record.error is not None, "it succeeded"
    assert record.error.code == code, record.error
    assert record.error.hint
    return record


def written(settings_dir: Path, name: str) -> Path:
    """One of the corpus of bad videos."""
    path = settings_dir / "videos" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    media.BAD_VIDEOS[name][0](path)
    return path


def published(processes: Processes) -> list[Path]:
    """All files below the results and below the worker's scratch folder, but for its lock."""
    roots = processes.settings.data_dir / "results", processes.settings.work_dir
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return [path for path in files if path.name != "lock"]


def test_bad_videos_after_each_other_and_a_good_one_at_the_end(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    worker = processes.worker()
    data_dir = processes.settings.data_dir
    jobs = {name: submit_clip(path=written(data_dir, name)) for name in media.BAD_VIDEOS}
    gone = data_dir / "videos" / "gone.mp4"
    media.write_video(gone)
    jobs[gone.name] = submit_clip(path=gone)
    gone.unlink()
    bomb = data_dir / "videos" / "bomb.mp4"
    bomb.write_bytes(bombs.tracks(8, 10_000_000))
    jobs[bomb.name] = submit_clip(path=bomb)
    codes = {name: code for name, (_, code) in media.BAD_VIDEOS.items()}
    codes |= {gone.name: "source_not_found", bomb.name: "video_bomb"}
    for name, job_id in jobs.items():
        record = failed(processes, job_id, codes[name])
        assert record.attempt == 1, f"{name} was tried again"
    assert not published(processes)

    model = model_process(worker).pid
    good = submit_clip()
    assert processes.wait_state(good, "succeeded", "failed").state == State.SUCCEEDED
    assert model_process(worker).pid == model
    (metadata,) = (p for p in published(processes) if p.name.endswith("_metadata.json"))
    assert '"model_loads": 1' in metadata.read_text()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("SHOAL_MAX_PIXELS", str(160 * 120 - 1)),
        ("SHOAL_MAX_DURATION_S", "3"),
        ("SHOAL_MAX_VIDEO_BYTES", "1000"),
    ],
)
def test_a_video_beyond_a_configured_limit(
    processes: Processes, submit_clip: SubmitClip, setting: str, value: str
) -> None:
    job_id = submit_clip()
    processes.worker(**{setting: value})
    record = failed(processes, job_id, "video_too_large")
    assert record.attempt == 1
    assert setting in record.error.hint  # type: ignore[union-attr]


def test_a_video_of_exactly_the_configured_pixels(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    processes.worker(SHOAL_MAX_PIXELS=str(160 * 120))
    assert processes.wait_state(job_id, "succeeded", "failed").state == State.SUCCEEDED


def test_results_that_may_not_be_written(processes: Processes, submit_clip: SubmitClip) -> None:
    job_id = submit_clip()
    # A file where the folder should be: refused for root as well, unlike missing permissions.
    (processes.settings.data_dir / "results").write_text("in the way")
    worker = processes.worker()
    record = failed(processes, job_id, "storage_not_writable")
    assert record.attempt == 1
    (processes.settings.data_dir / "results").unlink()
    processes.queue.retry(job_id)
    assert processes.wait_state(job_id, "succeeded").attempt == 2
    assert worker.poll() is None


def test_a_disk_that_is_full_is_tried_again_to_the_limit(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    noisy = processes.settings.data_dir / "noisy.mp4"
    noisy.parent.mkdir(parents=True)
    media.write_noise(noisy, frames=100)
    worker = processes.worker()
    first = submit_clip()
    processes.wait_state(first, "succeeded")
    # No file may grow beyond this: to a writing process the same as a disk without room.
    limit_file_size(worker.pid, ONE_MB // 4)
    job_id = submit_clip(path=noisy)
    record = failed(processes, job_id, "disk_full")
    assert record.attempt == 1 + processes.settings.retries
    assert not [path for path in published(processes) if "noisy" in path.name]

    limit_file_size(worker.pid, resource.RLIM_INFINITY)
    processes.queue.retry(job_id)
    assert processes.wait_state(job_id, "succeeded", "failed").state == State.SUCCEEDED


def limit_file_size(pid: int, limit: int) -> None:
    """Of the worker and its model process."""
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
