"""What makes the engine fast changes nothing of its output."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from tests.sam3 import videos
from worker.predictors.base import Query
from worker.predictors.sam3.predictor import Sam3Predictor
from worker.predictors.sam3.upload import Uploads


def test_compiled_parts_are_whole_graphs_and_give_the_same_masks(
    plain: Path, predictor: Sam3Predictor
) -> None:
    """Captured as for a GPU, but run as they are: to generate code takes minutes on a CPU."""
    counters.clear()
    compiled = Sam3Predictor(str(plain), compile_with="eager")
    frames = videos.make(5)
    results = videos.track(compiled.open(videos.INFO, Query(("a",))), frames)
    straight = videos.track(predictor.open(videos.INFO, Query(("a",))), frames)
    assert videos.shown(results) == videos.shown(straight)
    assert any(result.objects for result in results)
    assert counters["stats"]["unique_graphs"] >= 3
    assert not counters["graph_break"]
    assert compiled.versions["compiled_with"] == "eager", "its states are no other engine's"
    assert "compiled_with" not in predictor.versions


def test_without_a_gpu_nothing_is_copied() -> None:
    uploads = Uploads(torch.device("cpu"))
    tensor = torch.arange(6.0)
    with uploads.aside():
        assert uploads.send(tensor) is tensor
    assert torch.equal(uploads.arrived([tensor, -tensor]), torch.stack([tensor, -tensor]))


@pytest.mark.gpu
def test_what_is_uploaded_beside_a_computation_arrives() -> None:
    device = torch.device("cuda:0")
    uploads = Uploads(device)
    load = torch.randn(4096, 4096, device=device)
    for n in range(50):
        for _ in range(4):
            load = (load @ load).clamp(-1, 1)
        sent = []
        for k in range(4):
            with uploads.aside():
                sent.append(uploads.send(torch.full((1080, 1920), float(n + k))) * 2)
        arrived = uploads.arrived(sent)
        del sent
        assert arrived.amax((1, 2)).tolist() == [2.0 * (n + k) for k in range(4)]
        assert torch.equal(arrived.amin((1, 2)), arrived.amax((1, 2)))
