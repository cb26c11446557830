"""The files the package needs: its checkpoint, and the vocabulary that its wheel lacks."""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import hf_hub_download

from shoal.errors import ModelLoadFailed, WeightsUnavailable
from worker.predictors.sam3.availability import REPOSITORY
from worker.predictors.sam3.weights import of_hub

CHECKPOINT = "sam3.pt"
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
CARRIERS = ("open_clip", "clip")  # packages that bring CLIP's vocabulary along

COPY = (
    f"SHOAL_SAM3_WEIGHTS must name a directory that holds {CHECKPOINT} of {REPOSITORY}; or leave "
    "it empty to have it downloaded."
)
VOCABULARY_HINT = (
    "pip install open_clip_torch, which has it; or point SHOAL_SAM3_VOCABULARY to a copy, such as "
    f"https://github.com/openai/CLIP/raw/main/clip/{VOCABULARY}."
)


def checkpoint(weights: str, revision: str) -> tuple[Path, str]:
    """The checkpoint, fetched from the hub where no directory is given.

    Args:
        weights, revision: as the engine ``sam3`` has them.

    Returns:
        Its path, and its identity: where it came from, and its revision or digest.

    Raises:
        WeightsUnavailable: it is missing or gated.
    """
    if weights in ("", REPOSITORY):
        return _from_hub(revision)
    path = Path(weights) / CHECKPOINT
    if not path.is_file():
        raise WeightsUnavailable(f"there is no {path}", hint=COPY)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path, f"{path.parent.name}/{path.name} sha256:{digest[:16]}"


def _from_hub(revision: str) -> tuple[Path, str]:
    token = os.environ.get("HF_TOKEN") or False
    try:
        path = Path(hf_hub_download(REPOSITORY, CHECKPOINT, revision=revision, token=token))
    except Exception as error:  # the hub's and the disk's share no base
        raise of_hub(error, revision) from error
    return path, f"{REPOSITORY}@{path.parent.name}"  # a snapshot's folder is named by its commit


def vocabulary(setting: str, folder: Path) -> Path:
    """CLIP's vocabulary of byte pairs.

    Args:
        setting: ``Settings.sam3_vocabulary``: a path, or empty to look beside the checkpoint and
            in the packages that are known to have it.
        folder: of the checkpoint.

    Raises:
        ModelLoadFailed: it is nowhere.
    """
    places = [Path(setting)] if setting else [folder / VOCABULARY, *_in_packages()]
    for place in places:
        if place.is_file():
            return place
    if setting:
        raise ModelLoadFailed(f"SHOAL_SAM3_VOCABULARY is no file: {setting}", hint=VOCABULARY_HINT)
    raise ModelLoadFailed(
        f"the vocabulary {VOCABULARY}, which the package sam3 lacks, is neither beside the "
        f"weights nor in any of the packages {', '.join(CARRIERS)}",
        hint=VOCABULARY_HINT,
    )


def _in_packages() -> list[Path]:
    """Where installed packages would have it; none of them is imported."""
    found = [find_spec(name) for name in CARRIERS]
    folders = [spec.submodule_search_locations or () for spec in found if spec]
    return [Path(each) / VOCABULARY for locations in folders for each in locations]
