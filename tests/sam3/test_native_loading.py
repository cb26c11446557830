"""Meta's package and its weights: what is missing, and the real one where CUDA is."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import torch

from shoal.engines import clip
from shoal.errors import ModelLoadFailed
from shoal.settings import Settings
from tests.sam3 import videos
from tests.sam3.native_scene import EVERYTHING, FRAMES, INFO, make
from tests.sam3.native_standin import StandIn
from worker.engines import load
from worker.engines.sam3_native import availability, predictor as predictors

# --- loading ----------------------------------------------------------------------------------


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two CUDA devices, and a package ``sam3`` that notes what it is built with."""
    options: dict[str, Any] = {}

    def build_sam3_video_predictor(**given: Any) -> StandIn:
        options.update(given)
        if "broken" in given["checkpoint_path"]:
            raise RuntimeError("size mismatch\nfor this and that")
        return StandIn()

    package, builder = ModuleType("sam3"), ModuleType("sam3.model_builder")
    package.__spec__ = ModuleSpec("sam3", None)
    vars(builder)["build_sam3_video_predictor"] = build_sam3_video_predictor
    monkeypatch.setitem(sys.modules, "sam3", package)
    monkeypatch.setitem(sys.modules, "sam3.model_builder", builder)
    monkeypatch.setattr(predictors, "version", lambda name: "0.1.4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU")
    return options


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A directory that holds a checkpoint."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "sam3.pt").write_bytes(b"here")
    return folder


def test_the_package_is_built_with_its_files_on_the_gpus(
    built: dict[str, Any], weights: Path
) -> None:
    loaded = predictors.load(str(weights), "", ())
    assert built == {
        "checkpoint_path": str(weights / "sam3.pt"),
        "bpe_path": str(clip.VOCABULARY),
        "gpus_to_use": [0],
    }
    assert loaded.device == "cuda:0 GPU"
    assert loaded.versions["sam3"] == "0.1.4"
    assert loaded.versions["weights"].startswith("weights/sam3.pt sha256:")
    assert predictors.load(str(weights), "", (0, 1)).device == "cuda:0,1 GPU"
    assert built["gpus_to_use"] == [0, 1]


@pytest.mark.parametrize(
    ("versions", "newest"),
    [
        (Literal["sam3", "sam3.1"], "sam3.1"),
        (Literal["sam3.2", "sam3.10", "sam3"], "sam3.10"),
        (str, "sam3.1"),
    ],
)
def test_the_newest_predictor_of_the_package_is_built(
    built: dict[str, Any], weights: Path, versions: Any, newest: str
) -> None:
    def build_sam3_predictor(version: Any = "sam3", **given: Any) -> StandIn:
        built.update(given, version=version)
        return StandIn()

    build_sam3_predictor.__annotations__["version"] = versions
    vars(sys.modules["sam3.model_builder"])["build_sam3_predictor"] = build_sam3_predictor
    predictors.load(str(weights), "", ())
    assert built["version"] == newest
    assert built["gpus_to_use"] == [0]


def test_anywhere_but_on_cuda_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, built: dict[str, Any], weights: Path
) -> None:
    settings = Settings(sam3_weights=str(weights), sam3_window=64)
    monkeypatch.setattr("worker.engines.get_settings", lambda: settings)
    assert load("sam3-native").name == "sam3-native"
    built.clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ModelLoadFailed, match="requires a CUDA device, and there is none"
    ) as caught:
        load("sam3-native")
    assert "sam3" in caught.value.hint
    assert not built


def refused(*options: Any) -> ModelLoadFailed:
    obstacle = availability.find_obstacle(*options)
    assert obstacle
    return obstacle


def test_what_is_missing_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, built: dict[str, Any], weights: Path, tmp_path: Path
) -> None:
    assert availability.find_obstacle(str(weights), "", (0, 1)) is None
    error = refused(str(weights), "", (0, 2))
    assert "no CUDA device 2; the number of devices is 2" in str(error)
    assert "SHOAL_SAM3_GPUS" in error.hint
    error = refused(str(tmp_path), "", ())
    assert f"no sam3.pt at {tmp_path}" in str(error)
    assert "SHOAL_SAM3_WEIGHTS" in error.hint
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert "HF_TOKEN" in refused("", "no such revision", ()).hint
    monkeypatch.setattr(availability, "find_spec", lambda name: None if name == "sam3" else name)
    error = refused(str(weights), "", ())
    assert str(error) == "sam3 is not installed"
    assert "pip install '.[sam3]'" in error.hint


def test_weights_that_do_not_match_are_named(built: dict[str, Any], weights: Path) -> None:
    broken = weights.rename(weights.with_name("broken"))
    with pytest.raises(ModelLoadFailed) as caught:
        predictors.load(str(broken), "", ())
    assert str(caught.value) == f"the package sam3 cannot load {broken}/sam3.pt: size mismatch"


# --- the real package -------------------------------------------------------------------------


@pytest.mark.gpu
def test_the_real_package_takes_our_requests(tmp_path: Path) -> None:
    """At full size with random weights: what it finds means nothing, how it answers does."""
    from sam3.model_builder import build_sam3_video_model

    model = build_sam3_video_model(load_from_HF=False, bpe_path=str(clip.VOCABULARY))
    torch.save(model.state_dict(), tmp_path / "sam3.pt")
    del model
    loaded = predictors.load(str(tmp_path), "", ())
    engine = predictors.Sam3NativePredictor(loaded, window=16, overlap=4)
    results = videos.track(engine.open(INFO, EVERYTHING), make())
    assert [result.index for result in results] == [2 * t for t in range(FRAMES)]
    assert all(each.mask.bits.any() for result in results for each in result.objects)
    native: Any = loaded.native
    assert not native._ALL_INFERENCE_STATES
