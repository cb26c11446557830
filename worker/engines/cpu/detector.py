"""Boxes of the 80 COCO classes: NanoDet-G on onnxruntime.

Pre- and post-processing follow https://github.com/RangiLyu/nanodet (``demo_onnx``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime as ort
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from worker.engines.cpu.track import Detection

INPUT_SIDE = 416  # pixels of the longer side, as the model was trained
STRIDES = (8, 16, 32)  # pixels per cell of the three output levels
BINS = 11  # a box side's distance is a distribution over 0 ... 10 strides
MEAN = (103.53, 116.28, 123.675)  # of blue, green, red
STD = (57.375, 57.12, 58.395)
MIN_SCORE = 0.25
MAX_IOU = 0.5  # of two boxes for one prompt before the weaker one is dropped


def session(path: Path, threads: int) -> ort.InferenceSession:
    """Load a model that leaves the processor to others while it has nothing to do."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class NanoDet:
    """The loaded detector."""

    def __init__(self, path: Path, threads: int) -> None:
        self._session = session(path, threads)
        self._input = self._session.get_inputs()[0].name
        self._scaler = VideoReformatter()  # one for all frames: it keeps its tables

    def detect(
        self, picture: av.VideoFrame, classes_of: Mapping[int, tuple[int, ...]]
    ) -> list[Detection]:
        """Find the objects of several prompts in one pass.

        Args:
            picture: any size and pixel format.
            classes_of: for the label of each prompt, the indices of the COCO classes that
                answer it.

        Returns:
            Detections of at least ``MIN_SCORE`` and one pixel on each side, within the picture.
        """
        blob, scale = letterbox(picture, self._scaler)
        outputs = self._session.run(None, {self._input: blob})
        scores = np.concatenate([level[0] for level in outputs[:3]])  # (cells, 80)
        sides = np.concatenate([level[0] for level in outputs[3:]])  # (cells, 4 * BINS)
        centres, strides = cells(blob.shape[2], blob.shape[3])
        limit = np.array([picture.width, picture.height] * 2, np.float64)

        found = []
        for label, classes in classes_of.items():
            best = scores[:, classes].max(axis=1)
            hot = np.flatnonzero(best >= MIN_SCORE)
            distances = expected_distances(sides[hot]) * strides[hot, None]
            corners = np.hstack((centres[hot] - distances[:, :2], centres[hot] + distances[:, 2:]))
            boxes = (corners / np.tile(scale, 2)).clip(0.0, limit)
            for i in suppress(boxes, best[hot]):
                x0, y0, x1, y1 = boxes[i].tolist()
                if x1 - x0 >= 1 and y1 - y0 >= 1:
                    found.append(Detection(label, float(best[hot[i]]), (x0, y0, x1, y1)))
        return found


def letterbox(
    picture: av.VideoFrame, scaler: VideoReformatter
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Scale a picture to the model's size and normalise it.

    It is padded on the right and at the bottom only, to whole cells of the coarsest level.

    Returns:
        (1, 3, h, w) in the order blue, green, red, with the longer of h and w ``INPUT_SIDE``;
        and (2,) model pixels per picture pixel, in x and y.
    """
    ratio = INPUT_SIDE / max(picture.width, picture.height)
    width, height = max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio))
    # swscale converts only the pixels that are needed, which is far cheaper than a full picture.
    bgr = scaler.reformat(picture, width=width, height=height, format="bgr24").to_ndarray()
    coarsest = STRIDES[-1]
    blob = np.zeros(
        (1, 3, -(-height // coarsest) * coarsest, -(-width // coarsest) * coarsest), np.float32
    )
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        plane = blob[0, channel, :height, :width]
        np.subtract(bgr[..., channel], np.float32(mean), out=plane)
        plane *= np.float32(1 / std)
    return blob, np.array([width / picture.width, height / picture.height])


@lru_cache(maxsize=8)
def cells(height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the output cells of an input of this size lie.

    Returns:
        (cells, 2) centres, x and y in model pixels, and (cells,) strides, level by level.
    """
    centres, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[0 : height // stride, 0 : width // stride]
        centres.append((np.stack((x.ravel(), y.ravel()), axis=1) + 0.5) * stride)
        strides.append(np.full(x.size, stride, np.float64))
    return np.concatenate(centres), np.concatenate(strides)


def expected_distances(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The means of the distributions of the four sides (generalized focal loss, Li et al. 2020).

    Args:
        logits: (N, 4 * BINS).

    Returns:
        (N, 4), distances from the cell's centre to left, top, right, bottom in strides.
    """
    bins = logits.reshape(-1, 4, BINS).astype(np.float64)
    weights = np.exp(bins - bins.max(axis=2, keepdims=True))
    means: NDArray[np.float64] = weights @ np.arange(BINS) / weights.sum(axis=2)
    return means


def suppress(
    boxes: NDArray[np.float64], scores: NDArray[np.float32], max_iou: float = MAX_IOU
) -> list[int]:
    """Non-maximum suppression: indices of the boxes to keep, the best first.

    Args:
        boxes: (N, 4), x0, y0, x1, y1.
        scores: (N,).
    """
    corner_and_size = np.hstack((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]))
    kept = cv2.dnn.NMSBoxes(corner_and_size.tolist(), scores.tolist(), 0.0, max_iou)
    return [int(i) for i in kept]
