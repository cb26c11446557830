"""Where the package's checkpoint comes from."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from huggingface_hub import hf_hub_download

from worker.engines.sam3.availability import REPOSITORY
from worker.engines.sam3.weights import of_hub
from worker.engines.sam3_native.availability import CHECKPOINT


def checkpoint(weights: str, revision: str) -> tuple[Path, str]:
    """The checkpoint, fetched from the hub where no directory is given.

    Args:
        weights, revision: as the engine ``sam3`` has them.

    Returns:
        Its path, and its identity: where it came from, and its revision or digest.

    Raises:
        WeightsUnavailable: the hub does not give it.
    """
    if weights in ("", REPOSITORY):
        return _from_hub(revision)
    path = Path(weights) / CHECKPOINT
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
