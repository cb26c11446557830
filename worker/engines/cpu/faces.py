"""Boxes of faces: CenterFace on onnxruntime.

After Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point" (2019): on a
grid of cells, a heatmap says where a face's centre is, and two more maps its size and where in
the cell the centre lies. Order and scale of the maps are those of
https://github.com/Star-Clouds/CenterFace. The fourth map, landmarks, is not read.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from worker.engines.cpu.detector import session, suppress
from worker.engines.cpu.track import Detection

MAX_SIDE = 960  # pixels of the longer side: a larger picture is scaled down
CELL = 4  # pixels per cell of the maps
COARSEST = 32  # sides of the input are multiples of this
MIN_SCORE = 0.2
MAX_IOU = 0.3  # of two faces before the weaker one is dropped
MAPS = ("537", "538", "539")  # heatmap, scale, offset


class CenterFace:
    """The loaded detector."""

    def __init__(self, path: Path, threads: int) -> None:
        self._session = session(path, threads)
        self._input = self._session.get_inputs()[0].name
        self._scaler = VideoReformatter()  # one for all frames: it keeps its tables

    def detect(self, picture: av.VideoFrame, label: int) -> list[Detection]:
        """Find faces.

        Args:
            picture: any size and pixel format.
            label: of the detections.

        Returns:
            Those of at least ``MIN_SCORE`` and one pixel on each side, within the picture.
        """
        blob, scale = scaled(picture, self._scaler)
        heatmap, size, offset = self._session.run(MAPS, {self._input: blob})
        boxes, scores = decode(heatmap[0, 0], size[0], offset[0])
        limit = np.array([picture.width, picture.height] * 2, np.float64)
        boxes = (boxes / np.tile(scale, 2)).clip(0.0, limit)
        found = []
        for i in suppress(boxes, scores, MAX_IOU):
            x0, y0, x1, y1 = boxes[i].tolist()
            if x1 - x0 >= 1 and y1 - y0 >= 1:
                found.append(Detection(label, float(scores[i]), (x0, y0, x1, y1)))
        return found


def scaled(
    picture: av.VideoFrame, scaler: VideoReformatter
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A picture as the model reads it, padded on the right and at the bottom.

    Returns:
        (1, 3, h, w) of red, green, blue, 0 to 255; and (2,) model pixels per picture pixel, in x
        and y.
    """
    ratio = min(1.0, MAX_SIDE / max(picture.width, picture.height))
    width, height = max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio))
    rgb = scaler.reformat(picture, width=width, height=height, format="rgb24").to_ndarray()
    padded = [-(-side // COARSEST) * COARSEST for side in (height, width)]
    blob = np.zeros((1, 3, *padded), np.float32)
    blob[0, :, :height, :width] = rgb.transpose(2, 0, 1)
    return blob, np.array([width / picture.width, height / picture.height])


def decode(
    heatmap: NDArray[np.float32], size: NDArray[np.float32], offset: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Boxes of the cells that hold a face's centre, in model pixels.

    Args:
        heatmap: (h, w), 0 to 1.
        size: (2, h, w), logarithms of height and width in cells.
        offset: (2, h, w), of the centre from the cell's own, y and x in cells.

    Returns:
        (N, 4), x0, y0, x1, y1, and (N,) scores, of those of at least ``MIN_SCORE``.
    """
    row, column = cell = np.nonzero(heatmap >= MIN_SCORE)
    centre = (np.stack(cell) + offset[:, row, column].astype(np.float64) + 0.5) * CELL
    half = np.exp(size[:, row, column].astype(np.float64)) * CELL / 2
    corners = np.concatenate((centre - half, centre + half))  # y0, x0, y1, x1
    return corners[[1, 0, 3, 2]].T, heatmap[cell]
