"""Checkpoints and videos for the SAM3 tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: nothing is fetched

import torch

from tests.sam3 import tiny
from worker.engines import cuda
from worker.engines.sam3.predictor import Sam3Predictor

CUDA_IS_AVAILABLE = torch.cuda.is_available

torch.set_num_threads(1)  # for so small tensors a second one costs more than it does


@pytest.fixture(scope="session", autouse=True)
def cuda_hidden() -> Iterator[None]:
    """The reference runs on the CPU in float32: so does the engine, also where there is a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(cuda, "DEVICES", Path(os.devnull))
        yield


@pytest.fixture(autouse=True)
def cuda_for_tests_of_it(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, cuda_hidden: None
) -> None:
    if request.node.get_closest_marker("gpu"):
        if not CUDA_IS_AVAILABLE():
            pytest.skip("there is no GPU, or this build of torch cannot use it")
        monkeypatch.setattr(torch.cuda, "is_available", CUDA_IS_AVAILABLE)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds a few objects, and keeps some of them through the video."""
    return tiny.save_checkpoint(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loses its objects: hotstart removes all of them time and again, and others come."""
    return tiny.save_checkpoint(tmp_path_factory.mktemp("forgetful"), tiny.forgetful)


@pytest.fixture(scope="session")
def reconditioning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reconditions its objects every fourth frame, and sees new ones on many frames."""
    return tiny.save_checkpoint(
        tmp_path_factory.mktemp("reconditioning"),
        tiny.mindful,
        recondition_every_nth_frame=4,
        high_iou_thresh=0.2,
        hotstart_unmatch_thresh=15,
        hotstart_dup_thresh=15,
        max_num_objects=6,
    )


@pytest.fixture(scope="session")
def predictor(plain: Path) -> Sam3Predictor:
    return Sam3Predictor(str(plain))
