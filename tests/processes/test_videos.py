"""Real videos through the API, the queue and a warm worker with the CPU engine."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import pyarrow.parquet as pq
import pycocotools.mask as coco

from shoal.client import Client
from shoal.model.job import State
from shoal.model.worker import WorkerInfo
from shoal.results.layout import Metadata, ResultSummary
from tests.processes.gate import told_to_go
from tests.running import ROOT, Processes, eventually, model_process


def test_a_video_becomes_results_that_the_usual_tools_read(
    processes: Processes, sample_clip: Path, tmp_path: Path
) -> None:
    client = processes.api()
    processes.worker("cpu")
    upload = client.upload(sample_clip)
    job = client.submit(upload.uri, ["person", "car"], sample_fps=5, max_frames=20)
    record = client.wait(job.id)
    assert record.state == State.SUCCEEDED, record.error
    saved = {
        path.name.rpartition("_")[2]: path
        for path in (
            client.download(job.id, file.name, tmp_path) for file in client.results(job.id)
        )
    }
    metadata = Metadata.model_validate_json(saved["metadata.json"].read_text())
    assert metadata.frames_processed == 20
    assert metadata.output_fps == 5
    with av.open(str(saved["segmented.mp4"])) as overlay:
        stream = overlay.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert len(list(overlay.decode(video=0))) == 20
    rows = pq.read_table(saved["masks.parquet"]).to_pylist()
    assert {row["prompt"] for row in rows} <= {"person", "car"}
    assert len({row["object_id"] for row in rows}) == metadata.objects_detected > 0
    summary = ResultSummary.model_validate_json(saved["summary.json"].read_text())
    frames = Counter(row["object_id"] for row in rows)
    assert {track.object_id: track.frames for track in summary.tracks} == frames
    for row in rows:
        mask = coco.decode({"size": [row["height"], row["width"]], "counts": row["rle"]})
        assert mask.shape == (metadata.video.height, metadata.video.width)
        assert mask.any()


def test_the_documented_reader_reads(
    processes: Processes, sample_clip: Path, tmp_path: Path
) -> None:
    client = processes.api()
    processes.worker("cpu")
    job = client.submit(client.upload(sample_clip).uri, ["car"], sample_fps=5, max_frames=20)
    client.wait(job.id)
    for file in client.results(job.id):
        client.download(job.id, file.name, tmp_path)
    _, _, rest = (ROOT / "docs/results.md").read_text().partition("```python\nimport json")
    reader = tmp_path / "reader.py"
    reader.write_text("import json" + rest.partition("```")[0])
    command = [sys.executable, str(reader), str(next(tmp_path.glob("*_metadata.json")))]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.startswith("20 frames, {'car': ")
    assert "car #" in printed


def worker_of(client: Client) -> WorkerInfo:
    (info,) = client.queue().workers
    return info


def test_ten_videos_load_the_model_once_and_a_kill_loses_none(
    processes: Processes, sample_clip: Path
) -> None:
    client = processes.api()
    worker = processes.worker("cpu")
    uri = client.upload(sample_clip).uri
    ids = [client.submit(uri, ["car"], sample_fps=0, max_frames=n).id for n in range(20, 30)]
    records = [client.wait(job_id) for job_id in ids]
    assert [record.state for record in records] == [State.SUCCEEDED] * 10
    # It counts a job, and removes its parts, after the job is over.
    eventually(lambda: worker_of(client).jobs_done == 10, "the worker to have counted")
    assert worker_of(client).model_loads == 1

    # The one that it is killed at is long: the test may come late.
    more = [client.submit(uri, ["car"], sample_fps=0, max_frames=n).id for n in (60, 240, 61)]
    processes.wait_frames(more[1])
    model_process(worker).kill()
    records = [client.wait(job_id) for job_id in more]
    assert [record.state for record in records] == [State.SUCCEEDED] * 3
    assert [record.failures for record in records] == [0, 1, 0]
    assert worker_of(client).model_loads == 2


def test_results_are_the_same_after_an_interruption(
    processes: Processes, sample_clip: Path, tmp_path: Path
) -> None:
    client = processes.api()
    processes.worker("cpu")
    uri = client.upload(sample_clip).uri
    straight = client.wait(client.submit(uri, ["car"], sample_fps=0, max_frames=50).id)
    job = client.submit(uri, ["car", "car "], sample_fps=0, max_frames=50)
    assert job.id == straight.id  # white space and repetition make no other job

    worker = processes.running[1]
    for most in range(51, 61):  # where the test comes too late, the next one
        other = client.submit(uri, ["car"], sample_fps=0, max_frames=most)
        processes.wait_frames(other.id)
        if told_to_go(processes, worker, other.id):
            break
    assert worker.wait(120) == 0
    processes.worker("cpu")
    record = client.wait(other.id)
    assert (record.state, record.preemptions) == (State.SUCCEEDED, 1)
    tables = []
    for each in (straight, record):
        name = next(name for name in each.results if name.endswith(".parquet"))
        tables.append(pq.read_table(client.download(each.id, name, tmp_path / each.id)).to_pylist())
    assert tables[0] == [row for row in tables[1] if row["frame"] < 50]
