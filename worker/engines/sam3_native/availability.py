"""Whether this machine can run Meta's package, found out without loading it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from shoal.errors import ModelLoadFailed, WeightsUnavailable
from worker.engines import cuda
from worker.engines.sam3.availability import INSTALL, LICENCE, REPOSITORY

CHECKPOINT = "sam3.pt"
COPY = (
    f"Set SHOAL_SAM3_WEIGHTS to a directory with {CHECKPOINT} of {REPOSITORY}, or leave it empty "
    "to download it."
)
LIBRARIES = ("torch", "torchvision", "sam3", "PIL")


def find_obstacle(weights: str, revision: str, gpus: Sequence[int]) -> ModelLoadFailed | None:
    """What stands in the way of loading it; None if nothing is known to.

    Args:
        weights, revision, gpus: ``Settings.sam3_weights``, ``sam3_revision`` and ``sam3_gpus``.
    """
    if find_spec("torch") is None:
        return ModelLoadFailed("torch is not installed", hint=INSTALL)
    import torch

    for gpu in gpus or (0,):
        if gpu < (torch.cuda.device_count() or 1) and (obstacle := cuda.find_obstacle(gpu)):
            return obstacle
    if not torch.cuda.is_available():
        return ModelLoadFailed(
            "the sam3-native engine requires a CUDA device, and there is none",
            hint="Use the engine sam3, or a machine with a CUDA device.",
        )
    count = torch.cuda.device_count()
    if beyond := [gpu for gpu in gpus if not 0 <= gpu < count]:
        return ModelLoadFailed(
            f"there is no CUDA device {beyond[0]}; the number of devices is {count}",
            hint="Correct SHOAL_SAM3_GPUS; indices start at 0.",
        )
    if lacking := [library for library in LIBRARIES if find_spec(library) is None]:
        return ModelLoadFailed(f"{lacking[0]} is not installed", hint=INSTALL)
    if weights not in ("", REPOSITORY):
        if (Path(weights) / CHECKPOINT).is_file():
            return None
        return WeightsUnavailable(f"there is no {CHECKPOINT} at {weights}", hint=COPY)
    if os.environ.get("HF_TOKEN") or _is_cached(revision):
        return None
    return WeightsUnavailable("neither SHOAL_SAM3_WEIGHTS nor HF_TOKEN is set", hint=LICENCE)


def _is_cached(revision: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(REPOSITORY, CHECKPOINT, revision=revision), str)
