"""What went wrong on a GPU, in our words, whichever engine used it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from shoal.errors import GpuError, GpuOutOfMemory

# What errors of CUDA's libraries say of themselves where they have no class of their own.
MARKS = ("CUDA error", "CUBLAS_STATUS_", "CUDNN_STATUS_", "cuDNN error", "NCCL error")
# Lack of memory outside of torch's allocator: workspaces of cuBLAS and cuDNN, and CUDA's own.
SCARCE = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDA error: out of memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU lacked memory for what was asked; it works on with less."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.OutOfMemoryError) or any(mark in str(error) for mark in SCARCE)


def as_gpu_error(error: Exception) -> Exception:
    """A GPU's error as ``GpuError`` or ``GpuOutOfMemory``; any other as it is.

    After most errors of CUDA (a failed assertion, an illegal address) nothing more can be done
    with the GPU in the same process.
    """
    torch = sys.modules.get("torch")  # without it no engine has used a GPU
    if torch is None:
        return error
    ours: Exception
    first_line = str(error).strip().partition("\n")[0]
    if is_out_of_memory(error):
        ours = GpuOutOfMemory(first_line)
    elif isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and any(mark in first_line for mark in MARKS)
    ):
        ours = GpuError(first_line)
    else:
        return error
    ours.__cause__ = error
    return ours.with_traceback(error.__traceback__)


@contextmanager
def out_of_memory_named(what: str) -> Iterator[None]:
    """Within, lack of memory is ``GpuOutOfMemory`` that says for what."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise GpuOutOfMemory(f"not enough GPU memory {what}") from error


def release() -> None:
    """Give back the memory of a call that failed.

    Its error holds the frames that it went through and their tensors, often in a cycle: it must be
    out of scope, and the collector has to come. What torch's allocator keeps is then the device's.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
