"""Whether this machine can run SAM3, found out without loading it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from shoal.errors import ModelLoadFailed, WeightsUnavailable
from worker.engines import cuda

LIBRARIES = ("torch", "torchvision", "transformers")
REPOSITORY = "facebook/sam3"  # on the Hugging Face hub

INSTALL = "Run pip install '.[sam3]' in a checkout."
LICENCE = (
    f"Accept the licence at https://huggingface.co/{REPOSITORY} and set HF_TOKEN to a token of "
    "that account, or set SHOAL_SAM3_WEIGHTS to a directory with a copy."
)
COPY = (
    f"Set SHOAL_SAM3_WEIGHTS to a directory with the files of {REPOSITORY} that transformers "
    "reads: config.json, model.safetensors, processor_config.json, tokenizer.json; or leave it "
    "empty to download them."
)


def why_not(weights: str, revision: str) -> str:
    """Why SAM3 is not the engine for this machine, in a few words; empty if it is.

    Args:
        weights: ``Settings.sam3_weights``.
        revision: ``Settings.sam3_revision``.
    """
    if obstacle := find_obstacle(weights, revision) or cuda.find_obstacle():
        return str(obstacle)
    import torch

    return "" if torch.cuda.is_available() else "there is no CUDA device"


def place(weights: str, revision: str) -> str:
    """Where the weights are looked for, in words."""
    local = weights not in ("", REPOSITORY)
    return weights if local else f"{REPOSITORY} at {revision} on the Hugging Face hub"


def find_obstacle(weights: str, revision: str) -> ModelLoadFailed | None:
    """What stands in the way of loading SAM3, on whatever device; None if nothing is known to."""
    if lacking := [library for library in LIBRARIES if find_spec(library) is None]:
        return ModelLoadFailed(f"{lacking[0]} is not installed", hint=INSTALL)
    if weights not in ("", REPOSITORY):
        if (Path(weights) / "config.json").is_file():
            return None
        return WeightsUnavailable(f"there are no weights at {weights}", hint=COPY)
    if os.environ.get("HF_TOKEN") or _is_cached(revision):
        return None
    return WeightsUnavailable("neither SHOAL_SAM3_WEIGHTS nor HF_TOKEN is set", hint=LICENCE)


def _is_cached(revision: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(REPOSITORY, "config.json", revision=revision), str)
