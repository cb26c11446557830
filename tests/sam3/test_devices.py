"""Which GPU is taken, in which precision, and which one is refused with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from shoal.errors import GpuError, GpuOutOfMemory, ModelLoadFailed
from shoal.settings import Settings
from tests.sam3 import tiny, videos
from worker import doctor, engines
from worker.engines import cuda
from worker.engines.base import Query
from worker.engines.gpu import as_gpu_error
from worker.engines.sam3.predictor import Sam3Predictor
from worker.engines.sam3_native import availability as of_native

CU130 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_90a", "sm_100", "sm_120", "compute_120"]
CU126 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
OPEN_MODULE = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder)\n"
    "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n"
)


class Machine:
    """A machine with an NVIDIA GPU, as torch and the kernel tell of it."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch, self._folder = patch, folder
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        patch.setattr(cuda, "DEVICES", folder)
        patch.setattr(cuda, "DRIVER", folder / "version")
        patch.setattr(torch.version, "cuda", "13.0")

    def plug_in(self, driver: str = "") -> None:
        """A GPU that CUDA does not start."""
        (self._folder / "nvidia0").touch()
        if driver:
            (self._folder / "version").write_text(OPEN_MODULE.format(driver))

    def start(self, name: str, capability: tuple[int, int], built_for: list[str]) -> None:
        self.plug_in("580.95.05")
        for attribute, value in {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "get_arch_list": lambda: built_for,
            "get_device_name": lambda index: name,
            "get_device_capability": lambda index: capability,
            "mem_get_info": lambda *_: (20 << 30, 24 << 30),
        }.items():
            self._patch.setattr(torch.cuda, attribute, value)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("name", "capability", "dtype", "attention"),
    [
        ("Tesla T4", (7, 5), torch.float16, "memory-efficient"),
        ("NVIDIA A100", (8, 0), torch.bfloat16, "FlashAttention 2"),
        ("NVIDIA A10", (8, 6), torch.bfloat16, "FlashAttention 2"),
        ("NVIDIA L4", (8, 9), torch.bfloat16, "FlashAttention 2"),
        ("NVIDIA H200", (9, 0), torch.bfloat16, "FlashAttention 2"),
        ("NVIDIA B200", (10, 0), torch.bfloat16, "FlashAttention 2"),
        ("NVIDIA GeForce RTX 5090", (12, 0), torch.bfloat16, "FlashAttention 2"),
        ("one that is yet to come", (13, 1), torch.bfloat16, "FlashAttention 2"),
    ],
)
def test_gpus_that_this_build_serves(
    gpu: Machine, name: str, capability: tuple[int, int], dtype: torch.dtype, attention: str
) -> None:
    gpu.start(name, capability, CU130)
    assert cuda.find_obstacle() is None
    found = cuda.device()
    assert (str(found), found.dtype, found.attention) == (f"cuda:0 {name}", dtype, attention)


@pytest.mark.parametrize(
    ("capability", "built_for"),
    [
        ((7, 0), CU130),
        ((6, 1), CU130),
        ((7, 0), ["sm_75", "sm_80"]),
        ((12, 0), CU126),
        ((9, 0), ["sm_90a", "sm_80"]),
        ((8, 0), ["sm_86"]),
    ],
)
def test_gpus_without_kernels_are_refused_before_a_job_fails(
    gpu: Machine, capability: tuple[int, int], built_for: list[str], plain: Path
) -> None:
    gpu.start("GPU", capability, built_for)
    with pytest.raises(ModelLoadFailed, match=rf"no kernels for GPU \(sm_{capability[0]}") as no:
        Sam3Predictor(str(plain))
    assert ("cu126" in no.value.hint) == (capability < (7, 5))
    obstacle = of_native.find_obstacle(str(plain), "main", ())
    assert obstacle is not None
    assert "no kernels for GPU" in str(obstacle)


def test_the_build_for_cuda_12_serves_volta(gpu: Machine) -> None:
    gpu.start("Tesla V100", (7, 0), CU126)
    assert cuda.find_obstacle() is None
    assert cuda.device().dtype == torch.float16


@pytest.mark.parametrize(
    ("driver", "build", "said"),
    [
        ("550.54.15", "13.0", "driver 550.54.15 is too old for CUDA 13.0"),
        ("580.95.05", "13.0", "CUDA 13.0 does not start (driver 580.95.05)"),
        ("", "13.0", "CUDA 13.0 does not start (driver unknown)"),
        ("550.54.15", "12.6", "CUDA 12.6 does not start (driver 550.54.15)"),
        ("550.54.15", None, "is built for CPUs"),
    ],
)
def test_a_gpu_that_cuda_does_not_start_is_refused_not_replaced_by_the_cpu(
    gpu: Machine,
    monkeypatch: pytest.MonkeyPatch,
    plain: Path,
    driver: str,
    build: str | None,
    said: str,
) -> None:
    monkeypatch.setattr(torch.version, "cuda", build)
    gpu.plug_in(driver)
    with pytest.raises(ModelLoadFailed) as refused:
        Sam3Predictor(str(plain))
    assert said in str(refused.value)
    settings = Settings(engine="auto", sam3_weights=str(plain))
    monkeypatch.setattr(engines, "get_settings", lambda: settings)
    choice = engines.choose("auto")
    assert choice.engine == "cpu"
    assert said in choice.reason
    for engine, health in {"auto": "broken", "sam3": "broken", "cpu": "note"}.items():
        (finding,) = doctor._device(settings.model_copy(update={"engine": engine}))
        assert (finding.health, said in finding.detail) == (health, True)


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_the_user_hides_is_not_missed(
    gpu: Machine, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    gpu.plug_in("550.54.15")
    assert cuda.find_obstacle() is not None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert cuda.find_obstacle() is None


def test_doctor_says_what_the_gpu_will_do_and_exits_non_zero_where_it_cannot(
    gpu: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"device": doctor._device})
    gpu.start("Tesla T4", (7, 5), CU130)
    assert doctor.main() == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "driver 580.95.05" in said
    assert "float16 with memory-efficient attention" in said
    gpu.start("Tesla V100", (7, 0), CU130)
    assert doctor.main() == 1
    assert "broken" in capsys.readouterr().out


def test_a_kernel_that_does_not_run_is_found_while_loading(gpu: Machine, plain: Path) -> None:
    """CUDA seems to be there, but nothing can be put on the device: torch is built without it."""
    gpu.start("GPU", (8, 0), CU130)
    with pytest.raises((ModelLoadFailed, AssertionError)) as failed:
        Sam3Predictor(str(plain))
    assert "GPU does not run torch" in str(failed.value) or "not compiled" in str(failed.value)


@pytest.mark.parametrize("name", ["CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"])
def test_workspaces_that_find_no_memory_count_as_lack_of_memory(name: str) -> None:
    error = RuntimeError(f"CUDA error: {name} when calling `create(handle)`")
    assert isinstance(as_gpu_error(error), GpuOutOfMemory)
    assert isinstance(as_gpu_error(torch.OutOfMemoryError("CUDA out of memory")), GpuOutOfMemory)
    assert isinstance(as_gpu_error(RuntimeError("CUDNN_STATUS_EXECUTION_FAILED_CUDART")), GpuError)


def test_half_precision_finds_the_objects_of_single_precision(tmp_path: Path) -> None:
    """What a T4 gets, computed on the CPU: the same objects, and masks that differ at edges."""
    checkpoint = tiny.save_checkpoint(tmp_path)
    found = {}
    for dtype in (torch.float32, torch.float16):
        predictor = Sam3Predictor(str(checkpoint), lookahead=2)
        model: Any = predictor._loaded.model
        model.to(dtype)
        results = videos.track(predictor.open(videos.INFO, Query(("a", "bc"))), videos.make(8))
        found[dtype] = [
            {o.object_id: o.mask.to_full(videos.HEIGHT, videos.WIDTH) for o in each.objects}
            for each in results
        ]
    single, half = found[torch.float32], found[torch.float16]
    assert set().union(*single) == set().union(*half) != set()
    for exact, close in zip(single, half, strict=True):
        assert all((exact[i] != close[i]).mean() < 0.02 for i in exact.keys() & close.keys())
