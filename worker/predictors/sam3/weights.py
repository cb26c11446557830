"""Where the weights come from, and what to do when they do not."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Sam3VideoModel, Sam3VideoProcessor
from transformers.utils import logging

from shoal.errors import ModelLoadFailed
from worker.predictors.sam3.availability import REPOSITORY

HINT = (
    f"Accept the licence at https://huggingface.co/{REPOSITORY} and set HF_TOKEN to a token of "
    "that account, or point SHOAL_SAM3_WEIGHTS to a directory that holds a copy."
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What sessions share.

    Attributes:
        identity: of the weights: where they came from, and their revision or digest.
    """

    model: Sam3VideoModel
    processor: Any
    identity: str


def load(weights: str, revision: str, device: torch.device, dtype: torch.dtype) -> Loaded:
    """Load model and processor.

    Args:
        weights: a directory; empty for ``REPOSITORY`` at ``revision``, with the token that the
            environment has in HF_TOKEN and no other.

    Raises:
        ModelLoadFailed: they are missing, gated, broken or another model's.
    """
    if weights and not Path(weights).is_dir():
        raise ModelLoadFailed(f"SHOAL_SAM3_WEIGHTS is no directory: {weights}", hint=HINT)
    where = weights or REPOSITORY
    options: dict[str, Any] = {"token": os.environ.get("HF_TOKEN") or False, "revision": revision}
    logging.disable_progress_bar()
    try:
        loaded: Any = Sam3VideoModel.from_pretrained(
            where, dtype=dtype, output_loading_info=True, **options
        )
        model, report = loaded
        _check_complete(report)
        processor = Sam3VideoProcessor.from_pretrained(where, **options)
    except ModelLoadFailed:
        raise
    except Exception as error:  # the hub's, transformers' and safetensors' share no base
        first_line = str(error).strip().partition("\n")[0]
        raise ModelLoadFailed(f"cannot load SAM3 from {where}: {first_line}", hint=HINT) from error
    if weights:
        identity = f"{Path(weights).name} sha256:{_digest(Path(weights))[:16]}"
    else:
        identity = f"{REPOSITORY}@{model.config._commit_hash}"
    return Loaded(model.to(device).eval(), processor, identity)


def _check_complete(report: dict[str, Any]) -> None:
    """Transformers fills what a checkpoint lacks with random numbers; we refuse it.

    Raises:
        ModelLoadFailed: naming some of the parameters.
    """
    lacking = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if lacking:
        raise ModelLoadFailed(
            f"the weights lack {len(lacking)} parameters of SAM3's video model, "
            f"such as {', '.join(lacking[:3])}",
            hint=HINT,
        )


def _digest(folder: Path) -> str:
    """One SHA-256 over all weight files in the order of their names, in hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
