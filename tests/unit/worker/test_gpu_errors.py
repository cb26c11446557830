"""What torch raises of a GPU, in our words."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.errors import GpuError, GpuOutOfMemory
from worker import model_process
from worker.engines import Choice
from worker.engines.gpu import as_gpu_error

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access"), GpuError),
        (RuntimeError("CUDA error: unspecified launch failure\nhints"), GpuError),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), GpuError),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling x"), GpuError),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), GpuOutOfMemory),
    ],
)
def test_a_gpus_error_is_named(error: Exception, ours: type[Exception]) -> None:
    named = as_gpu_error(error)
    assert type(named) is ours
    assert str(named) == str(error).partition("\n")[0]
    assert named.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("no GPU in this"), ValueError("CUDA error")])
def test_any_other_error_stays_what_it_is(error: Exception) -> None:
    assert as_gpu_error(error) is error


def test_a_failed_job_leaves_no_tensor_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is kept by the run that it ended, and keeps that: only the collector frees them."""
    tensors: list[weakref.ref[Any]] = []

    class FailingJob:
        def __init__(self, *_: object) -> None:
            self.error: Exception | None = None

        def run(self) -> None:
            features = torch.zeros(8)
            tensors.append(weakref.ref(features))
            try:
                raise ValueError(f"with {len(features)} features")
            except ValueError as error:
                self.error = error
                raise

    monkeypatch.setattr(model_process, "job_class", lambda run: FailingJob)
    silent = SimpleNamespace(exception=lambda *args: None)  # pytest's handler keeps the error
    monkeypatch.setattr(model_process, "log", silent)
    run: Any = SimpleNamespace(spec=SimpleNamespace(id="0" * 24))
    nothing: Any = None
    gc.disable()
    try:
        failed: Any = model_process._run(
            run, nothing, nothing, nothing, nothing, Choice("sam3", ""), nothing
        )
        assert tensors[0]() is None
    finally:
        gc.enable()
    assert "8 features" in failed.failure.message
