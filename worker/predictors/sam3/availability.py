"""Whether this machine can run SAM3, found out without loading it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

LIBRARIES = ("torch", "torchvision", "transformers")
REPOSITORY = "facebook/sam3"  # on the Hugging Face hub


def why_not(weights: str, revision: str) -> str:
    """Why SAM3 cannot run here, in a few words; empty if it can.

    Args:
        weights: ``Settings.sam3_weights``.
        revision: ``Settings.sam3_revision``.
    """
    if lacking := [library for library in LIBRARIES if find_spec(library) is None]:
        return f"{lacking[0]} is not installed"
    import torch

    if not torch.cuda.is_available():
        return "there is no CUDA device"
    return why_no_weights(weights, revision)


def why_no_weights(weights: str, revision: str) -> str:
    """Why there are no weights, or none that could be fetched; empty if there are."""
    if weights not in ("", REPOSITORY):
        return "" if (Path(weights) / "config.json").is_file() else f"no weights at {weights}"
    if os.environ.get("HF_TOKEN") or _is_cached(revision):
        return ""
    return "neither SHOAL_SAM3_WEIGHTS nor HF_TOKEN is set"


def _is_cached(revision: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(REPOSITORY, "config.json", revision=revision), str)
