"""Where the weights come from, and what to do when they do not."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch
from huggingface_hub import errors as hub
from transformers import Sam3VideoConfig, Sam3VideoModel, Sam3VideoProcessor
from transformers.utils import logging

from shoal.errors import ModelLoadFailed, WeightsUnavailable
from worker.engines.sam3.availability import COPY, LICENCE, REPOSITORY


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What sessions share.

    Attributes:
        identity: of the weights: where they came from, and their revision or digest.
    """

    model: Sam3VideoModel
    processor: Any
    identity: str


def load(weights: str, revision: str, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Load model and processor.

    Args:
        weights: a directory; ``REPOSITORY`` or empty for that repository at ``revision``, with
            the token that the environment has in HF_TOKEN and no other.

    Raises:
        WeightsUnavailable: there is no such directory, or the hub does not give them.
        ModelLoadFailed: they are incomplete, broken or another model's.
    """
    folder = None if weights in ("", REPOSITORY) else Path(weights)
    if folder and not folder.is_dir():
        raise WeightsUnavailable(f"SHOAL_SAM3_WEIGHTS is not a directory: {weights}", hint=COPY)
    where = weights or REPOSITORY
    options: dict[str, Any] = {"token": os.environ.get("HF_TOKEN") or False, "revision": revision}
    logging.disable_progress_bar()
    try:
        _check_kind(Sam3VideoConfig.get_config_dict(where, **options)[0], where)
        loaded: Any = Sam3VideoModel.from_pretrained(
            where, dtype=dtype, output_loading_info=True, **options
        )
        model, report = loaded
        _check_complete(report, where)
        processor = Sam3VideoProcessor.from_pretrained(where, **options)
        _check_words(processor.tokenizer, model.config, where)
    except ModelLoadFailed:
        raise
    except Exception as error:  # the hub's, transformers' and safetensors' share no base
        raise (_of_folder(error, where) if folder else of_hub(error, revision)) from error
    if folder:
        identity = f"{folder.name} sha256:{_digest(folder)[:16]}"
    else:
        identity = f"{REPOSITORY}@{model.config._commit_hash}"
    return LoadedModel(model.to(device).eval(), processor, identity)


def _of_folder(error: Exception, where: str) -> ModelLoadFailed:
    return ModelLoadFailed(f"cannot load SAM3 from {where}: {_first_line(error)}", hint=COPY)


def of_hub(error: Exception, revision: str) -> ModelLoadFailed:
    """Why the hub did not give the weights, and what to do."""
    causes = _causes(error)

    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    refused = any(
        isinstance(cause, hub.HfHubHTTPError) and cause.response.status_code in (401, 403)
        for cause in causes
    )
    # Whom it does not let in it may also tell that there is nothing.
    if refused or among(hub.GatedRepoError, hub.RepositoryNotFoundError):
        with_what = "with this HF_TOKEN" if os.environ.get("HF_TOKEN") else "without a token"
        return WeightsUnavailable(f"access to {REPOSITORY} denied {with_what}", hint=LICENCE)
    if among(hub.RevisionNotFoundError):
        return WeightsUnavailable(
            f"{REPOSITORY} has no revision {revision!r}",
            hint="Correct or unset SHOAL_SAM3_REVISION.",
        )
    if among(hub.LocalEntryNotFoundError, hub.HfHubHTTPError, ConnectionError, httpx.HTTPError):
        return WeightsUnavailable(
            f"cannot download {REPOSITORY} from the Hugging Face hub: {_first_line(causes[-1])}",
            hint="Check the network and try again, or set SHOAL_SAM3_WEIGHTS to a directory with "
            "a copy.",
        )
    return ModelLoadFailed(f"cannot load SAM3 from {REPOSITORY}: {_first_line(error)}")


def _causes(error: BaseException) -> list[BaseException]:
    """An error and those behind it."""
    causes: list[BaseException] = []
    behind: BaseException | None = error
    while behind is not None and behind not in causes:
        causes.append(behind)
        behind = behind.__cause__ or behind.__context__
    return causes


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _check_kind(config: dict[str, Any], where: str) -> None:
    """Refuse another model's weights: transformers would only warn.

    Raises:
        ModelLoadFailed: telling whose they are.
    """
    kind = config.get("model_type")
    if kind != Sam3VideoConfig.model_type:
        raise ModelLoadFailed(f"{where} contains {kind!r} instead of a SAM3 video model", hint=COPY)


def _check_complete(report: dict[str, Any], where: str) -> None:
    """Transformers fills what a checkpoint lacks with random numbers; we refuse it.

    Raises:
        ModelLoadFailed: naming some of the parameters.
    """
    lacking = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if lacking:
        raise ModelLoadFailed(
            f"the weights at {where} lack {len(lacking)} parameters of SAM3's video model, "
            f"such as {', '.join(lacking[:3])}",
            hint=COPY,
        )


def _check_words(tokenizer: Any, config: Any, where: str) -> None:
    """Transformers makes an empty tokenizer where there is none; every prompt would be the same.

    Raises:
        ModelLoadFailed: telling how many words it knows.
    """
    words = config.detector_config.text_config.vocab_size
    if len(tokenizer) < words:
        raise ModelLoadFailed(
            f"the tokenizer at {where} knows {len(tokenizer)} tokens of {words}", hint=COPY
        )


def _digest(folder: Path) -> str:
    """One SHA-256 over all weight files in the order of their names, in hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
