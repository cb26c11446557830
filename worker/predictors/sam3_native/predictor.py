"""Meta's predictor as an engine: loaded once, several of its sessions for each video."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from shoal.engines import clip
from shoal.errors import ModelLoadFailed
from worker.predictors.base import Query
from worker.predictors.sam3.availability import INSTALL
from worker.predictors.sam3_native import weights
from worker.predictors.sam3_native.availability import COPY
from worker.predictors.sam3_native.client import Native
from worker.predictors.sam3_native.session import Sam3NativeSession
from worker.video.frame import VideoInfo

OVERLAP = 32  # frames: more than twice the hotstart of the package, which is 15


@dataclass(frozen=True, slots=True)
class Loaded:
    """The package with its weights on the GPUs.

    Attributes:
        device: what it runs on, in words.
        versions: libraries and weights that shape the output.
    """

    native: Native
    device: str
    versions: dict[str, str]


def load(weights_at: str, revision: str, gpus: Sequence[int]) -> Loaded:
    """Load the package; ``availability.find_obstacle`` has found nothing in the way.

    Its tracker enters autocast for the thread that loads it, for good
    (sam3_tracking_predictor.py:50): that thread has to use it, too.

    Args:
        weights_at, revision: see ``weights.checkpoint``.
        gpus: indices of CUDA devices that share the work; empty for the first one.

    Raises:
        ModelLoadFailed: the package lacks a library, or does not match the checkpoint.
        WeightsUnavailable: the hub does not give the checkpoint.
    """
    gpus = gpus or (0,)
    checkpoint, identity = weights.checkpoint(weights_at, revision)
    os.environ.setdefault("TQDM_DISABLE", "1")  # a progress bar for every pass is no log
    try:
        package: Any = importlib.import_module("sam3.model_builder")
        native = package.build_sam3_video_predictor(
            checkpoint_path=str(checkpoint),
            bpe_path=str(clip.VOCABULARY),  # which its wheel lacks
            gpus_to_use=list(gpus),
        )
    except ImportError as error:
        raise ModelLoadFailed(
            f"the package sam3 cannot be imported: {error}", hint=INSTALL
        ) from error
    except Exception as error:  # torch's, pickle's and the package's share no base
        first_line = str(error).strip().partition("\n")[0]
        raise ModelLoadFailed(
            f"the package sam3 cannot load {checkpoint}: {first_line}", hint=COPY
        ) from error
    return Loaded(
        native,
        device=f"cuda:{','.join(map(str, gpus))} {torch.cuda.get_device_name(gpus[0])}",
        versions={"sam3": version("sam3"), "torch": torch.__version__, "weights": identity},
    )


class Sam3NativePredictor:
    """The package behind our protocol.

    Args:
        loaded: see ``load``.
        window: frames that the package gets at a time.
        overlap: frames by which windows overlap, less than half of a window.
    """

    name = "sam3-native"
    steps_again = True

    def __init__(self, loaded: Loaded, window: int, overlap: int) -> None:
        self._loaded = loaded
        self._window = window
        self._overlap = overlap
        self.device = loaded.device
        self.versions = loaded.versions

    def tracking_fps(self, video: VideoInfo) -> float:
        """0: SAM3 finds an object again at any rate."""
        return 0.0

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> Sam3NativeSession:
        """Start a video, or continue one; see ``Predictor.open``.

        Raises:
            InvalidOption: it is asked for what the package cannot do.
            CheckpointUnusable: the state is of another version.
        """
        session = Sam3NativeSession(
            self._loaded.native, video, query, window=self._window, overlap=self._overlap
        )
        if state is not None:
            session.restore(state)
        return session
