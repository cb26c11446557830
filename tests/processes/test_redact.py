"""A worker that is told to go while it renders a redacted video, with real processes."""

from __future__ import annotations

from shoal.model.job import Options, State
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.attempts import times
from tests.conftest import SubmitClip
from tests.media import write_video
from tests.processes.gate import told_to_go
from tests.running import Processes, eventually

FRAMES = 1500  # enough to be met while they are rendered


def test_the_next_worker_only_renders(
    processes: Processes,
    submit_clip: SubmitClip,
    queue: JobQueue,
    settings: Settings,
) -> None:
    clip = settings.data_dir / "long.mp4"
    clip.parent.mkdir(parents=True, exist_ok=True)
    write_video(clip, frames=FRAMES, fps=100)
    job_id = submit_clip(options=Options(outputs=["redact"]), path=clip)
    worker = processes.worker()
    eventually(
        lambda: queue.records.get(job_id).progress.stage == "render", "rendering", timeout_s=180
    )
    assert told_to_go(processes, worker, job_id)
    assert worker.wait(120) == 0
    processes.wait_state(job_id, State.QUEUED)

    processes.worker()
    record = processes.wait_state(job_id, State.SUCCEEDED, timeout_s=180)
    assert record.summary["frames_processed"] == FRAMES
    resumed = [each for each in queue.records.timeline(job_id) if each.event == "resumed"]
    assert [each.detail["frame"] for each in resumed] == [FRAMES - 1]
    [video] = settings.data_dir.rglob("long_redacted.mp4")
    assert len(times(video)) == FRAMES
