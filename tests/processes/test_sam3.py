"""A real video through API, queue, warm worker and SAM3, on a small checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pycocotools.mask as coco
import pytest

from shoal.client import Client
from shoal.model.job import State
from shoal.model.record import Record
from shoal.results.layout import Metadata
from tests.processes.gate import told_to_go
from tests.running import Processes, sam3_environment

FRAMES = 120  # several seconds: time enough to interrupt the worker between two frames


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    pytest.importorskip("torch")
    return sam3_environment(tmp_path_factory.mktemp("sam3"))


def download(client: Client, record: Record, folder: Path) -> dict[str, Path]:
    """The results by suffix."""
    files = client.results(record.id)
    return {
        path.name.rpartition("_")[2]: path
        for path in (client.download(record.id, file.name, folder) for file in files)
    }


def masks(paths: dict[str, Path]) -> pa.Table:
    return pq.read_table(paths["masks.parquet"])


def test_results_are_readable_and_the_same_after_an_interruption(
    processes: Processes, sample_clip: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    client = processes.api()
    processes.worker("sam3", **environment)
    uri = client.upload(sample_clip).uri
    options: dict[str, Any] = {"sample_fps": 0, "max_frames": FRAMES, "engine": "sam3"}
    straight = client.wait(client.submit(uri, ["car", "a man in a suit"], **options).id)
    assert straight.state == State.SUCCEEDED, straight.error

    paths = download(client, straight, tmp_path / "straight")
    metadata = Metadata.model_validate_json(paths["metadata.json"].read_text())
    assert metadata.frames_processed == FRAMES
    assert (metadata.engine.name, metadata.engine.reason) == ("sam3", "SHOAL_ENGINE is sam3")
    assert metadata.engine.versions.keys() == {"transformers", "torch", "weights"}
    rows = masks(paths).to_pylist()
    assert len({row["object_id"] for row in rows}) == metadata.objects_detected > 0
    for row in rows:
        mask = coco.decode({"size": [row["height"], row["width"]], "counts": row["rle"]})
        assert mask.shape == (metadata.video.height, metadata.video.width)
        assert mask.any()
        assert 0 < row["detection_score"] <= 1

    # The same frames of the same video, as another job, on a worker that has to go.
    again = client.submit(uri, ["car", "a man in a suit"], **{**options, "allow_truncated": True})
    processes.wait_frames(again.id, 5)
    worker = processes.running[-1]
    assert told_to_go(processes, worker, again.id)
    assert worker.wait(120) == 0
    processes.worker("sam3", **environment)
    record = client.wait(again.id)
    assert (record.state, record.preemptions) == (State.SUCCEEDED, 1), record.error
    paths = download(client, record, tmp_path / "interrupted")
    metadata = Metadata.model_validate_json(paths["metadata.json"].read_text())
    assert (metadata.resumed, metadata.parts) == (1, 2)
    assert masks(paths).to_pylist() == rows


def test_a_missing_checkpoint_is_told_to_who_asks_for_sam3(
    processes: Processes, sample_clip: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    client = processes.api()
    processes.worker("cpu", **environment | {"SHOAL_SAM3_WEIGHTS": str(tmp_path / "nowhere")})
    job = client.submit(client.upload(sample_clip).uri, ["car"], engine="sam3")
    record = client.wait(job.id)
    assert record.state == State.FAILED
    assert record.error is not None
    assert record.error.code == "weights_unavailable"
    assert "nowhere" in record.error.message
    assert "SHOAL_SAM3_WEIGHTS" in record.error.hint
