"""Meta's predictor as an engine: loaded once, several of its sessions for each video."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, get_args

import torch

from shoal import engines
from shoal.engines import clip
from shoal.errors import ModelLoadFailed, UnsupportedByEngine
from worker.engines.base import Query
from worker.engines.sam3.availability import INSTALL
from worker.engines.sam3_native import weights
from worker.engines.sam3_native.availability import COPY
from worker.engines.sam3_native.client import Native
from worker.engines.sam3_native.session import Sam3NativeSession
from worker.video.frame import VideoInfo

NEWEST = "sam3.1"  # that is known, for a package that does not declare what it has
TRACKING_FPS = 5.0  # as the engine sam3
OVERLAP = 32  # frames: more than twice the hotstart of the package, which is 15


@dataclass(frozen=True, slots=True)
class LoadedNative:
    """The package with its weights on the GPUs.

    Attributes:
        device: what it runs on, in words.
        versions: libraries and weights that shape the output.
        gpus: how many.
    """

    native: Native
    device: str
    versions: dict[str, str]
    gpus: int = 1


def load(weights_at: str, revision: str, gpus: Sequence[int]) -> LoadedNative:
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
        build, newest = _builder(importlib.import_module("sam3.model_builder"))
        native = build(
            **newest,
            checkpoint_path=str(checkpoint),
            bpe_path=str(clip.VOCABULARY),  # which its wheel lacks
            gpus_to_use=list(gpus),
        )
    except ImportError as error:
        raise ModelLoadFailed(f"cannot import the package sam3: {error}", hint=INSTALL) from error
    except Exception as error:  # torch's, pickle's and the package's share no base
        first_line = str(error).strip().partition("\n")[0]
        raise ModelLoadFailed(
            f"the package sam3 cannot load {checkpoint}: {first_line}", hint=COPY
        ) from error
    return LoadedNative(
        native,
        device=f"cuda:{','.join(map(str, gpus))} {torch.cuda.get_device_name(gpus[0])}",
        versions={"sam3": version("sam3"), "torch": torch.__version__, "weights": identity},
        gpus=len(gpus),
    )


def _builder(package: Any) -> tuple[Callable[..., Native], dict[str, str]]:
    """What builds the newest predictor that the package offers, and the arguments that choose it.

    Since SAM 3.1 ``build_sam3_predictor(version=...)`` builds several; the wheels on PyPI (0.1.4)
    have ``build_sam3_video_predictor`` alone.
    """
    several = getattr(package, "build_sam3_predictor", None)
    if several is None:
        return package.build_sam3_video_predictor, {}
    version = inspect.signature(several).parameters.get("version")
    known = get_args(version.annotation) if version else ()
    newest = max(known, key=lambda name: [int(n) for n in re.findall(r"\d+", name)], default=NEWEST)
    return several, {"version": newest}


class Sam3NativePredictor:
    """The package behind our protocol.

    Args:
        loaded: see ``load``.
        window: frames that the package gets at a time.
        overlap: frames by which windows overlap, less than half of a window.
    """

    name = "sam3-native"
    steps_again = True

    def __init__(self, loaded: LoadedNative, window: int, overlap: int) -> None:
        self._loaded = loaded
        self._window = window
        self._overlap = overlap
        self.device = loaded.device
        self.versions = loaded.versions

    def tracking_fps(self, video: VideoInfo) -> float:
        """At lower rates objects move too far between two frames to be recognized."""
        return TRACKING_FPS

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> Sam3NativeSession:
        """Start a video, or continue one; see ``Predictor.open``.

        Raises:
            UnsupportedByEngine: it is asked for what the package cannot do.
            CheckpointUnusable: the state is of another version.
        """
        if query.exemplars:
            reason = engines.limits(self.name)[engines.Feature.EXEMPLARS]
            raise UnsupportedByEngine(f"{self.name} does not support exemplars: {reason}")
        session = Sam3NativeSession(
            self._loaded.native,
            video,
            query,
            window=self._window,
            overlap=self._overlap,
            gpus=self._loaded.gpus,
        )
        if state is not None:
            session.restore(state)
        return session
