"""What went wrong on a GPU, in our words, whichever engine used it."""

from __future__ import annotations

import sys

from shoal.errors import GpuError, GpuOutOfMemory

# What errors of CUDA's libraries say of themselves where they have no class of their own.
MARKS = ("CUDA error", "CUBLAS_STATUS_", "CUDNN_STATUS_", "cuDNN error", "NCCL error")


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
    if isinstance(error, torch.OutOfMemoryError):
        ours = GpuOutOfMemory(first_line)
    elif isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and any(mark in first_line for mark in MARKS)
    ):
        ours = GpuError(first_line)
    else:
        return error
    ours.__cause__ = error
    return ours.with_traceback(error.__traceback__)
