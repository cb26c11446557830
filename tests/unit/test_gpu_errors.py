"""What torch raises of a GPU, in our words."""

from __future__ import annotations

import pytest

from shoal.errors import GpuError, GpuOutOfMemory
from worker.predictors.gpu import as_gpu_error

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
