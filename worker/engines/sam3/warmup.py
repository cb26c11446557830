"""What is done once, before the first job: compiling, and a few frames through the model."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from transformers import Sam3VideoModel

from worker.engines.base import Predictor, Query, VisualPrompt
from worker.video.frame import Frame, VideoInfo

VIDEO = VideoInfo(64, 64, fps=25, duration_s=0, frames=0, codec="made up")
FRAMES = 20  # after which an object has as many memories as it can have


def compile_parts(model: Sam3VideoModel, backend: str) -> None:
    """Have the parts compiled at their first use that take the time; each captures as one graph.

    Frames always come in batches of one size, but prompts, objects and their memories in any
    number.
    """
    tracker: Any = model.tracker_model
    detector: Any = model.detector_model
    detector.vision_encoder.compile(backend=backend, fullgraph=True)
    detector.compile(backend=backend, fullgraph=True, dynamic=True)
    for part in (tracker.memory_attention, tracker.memory_encoder, tracker.mask_decoder):
        part.compile(backend=backend, fullgraph=True, dynamic=True)


def warm_up(predictor: Predictor) -> None:
    """Send a few made-up frames through the model, so that no job waits for what happens once.

    Parts are compiled, libraries load and choose their kernels. There are two prompts, and objects
    that are pointed at: whatever the detector finds, the tracker has some, of two ages.
    """
    points = [
        VisualPrompt(label="a", object=str(n), frame=n % 2, points=((8, 8, 1),)) for n in range(3)
    ]
    for objects in (points[:1], points):
        session = predictor.open(VIDEO, Query(("a", "b"), objects=tuple(objects)))
        try:
            session.step([_grey(n) for n in range(FRAMES)])
            session.finish()
        finally:
            session.close()


def _grey(index: int) -> Frame:
    picture = np.full((VIDEO.height, VIDEO.width, 3), 128, np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
    return Frame(index, index / VIDEO.fps, frame, wanted=True)
