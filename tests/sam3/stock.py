"""Transformers' own propagation over a whole video, as the reference.

NMS and connected components are OpenCV's and a plain loop, in place of the kernel from the hub.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Sam3VideoModel, Sam3VideoProcessor
from transformers.models.sam3_video import modeling_sam3_video as stock

from tests.sam3 import torchvision_on_cpu  # noqa: F401
from worker.video.frame import Frame


@dataclass(frozen=True)
class Reference:
    """One frame.

    Attributes:
        masks: of each object shown, its prompt and its mask, (H, W) bool; those without a pixel
            left out.
        detection_scores: of each object that is shown, the detector's on its first frame.
        logits: of each object, shown or not, (h, w).
        tracked: the tracker's logits of each object that was there before, (h, w): by
            construction under the right id.
        removed: all ids that hotstart removed up to here.
        reconditioned: ids whose memory was renewed here.
    """

    masks: dict[int, tuple[str, NDArray[np.bool_]]]
    detection_scores: dict[int, float]
    logits: dict[int, Tensor]
    tracked: dict[int, Tensor]
    removed: set[int]
    reconditioned: set[int]


def run(
    checkpoint: Path,
    frames: Sequence[Frame],
    prompts: Sequence[str],
    *,
    mended: bool = False,
    all_pointers: bool = True,
    backward_from: int | None = None,
) -> list[Reference]:
    """Propagate through a video.

    Returns:
        The frames in the order of propagation.

    Args:
        mended: whether masks and scores keep their ids where hotstart removes an object.
        all_pointers: False gives the tracker the pointers of the closest conditioning frames
            only, as Meta's own implementation does.
        backward_from: a frame from which to go back to the first.
    """
    model = (_Mended if mended else _Watched).from_pretrained(checkpoint)
    model.train(False)
    processor = Sam3VideoProcessor.from_pretrained(checkpoint)
    if not all_pointers:
        _only_closest_pointers(model.tracker_model)
    video = np.stack([frame.picture.to_ndarray(format="rgb24") for frame in frames])
    with as_it_came():
        session = processor.init_video_session(video=video)
        processor.add_text_prompt(session, list(prompts))
        references = []
        way: dict[str, Any] = {}
        if backward_from is not None:  # transformers leaves out the frame it starts from
            way = {"reverse": True, "start_frame_idx": backward_from + 1}
        for output in model.propagate_in_video_iterator(session, **way):
            shown = processor.postprocess_outputs(session, output)
            prompt_of = {i: p for p, ids in shown["prompt_to_obj_ids"].items() for i in ids}
            ids = shown["object_ids"].tolist()
            masks = zip(ids, shown["masks"].numpy(), strict=True)
            references.append(
                Reference(
                    masks={i: (prompt_of[i], mask) for i, mask in masks if mask.any()},
                    detection_scores=dict(zip(ids, shown["scores"].tolist(), strict=True)),
                    logits={i: mask[0] for i, mask in output.obj_id_to_mask.items()},
                    tracked=model.tracked[output.frame_idx],
                    removed=set(output.removed_obj_ids),
                    reconditioned=model.reconditioned[output.frame_idx],
                )
            )
    return references


class _Watched(Sam3VideoModel):
    """Notes by frame which logits the tracker gave which object, and what is reconditioned."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.tracked: dict[int, dict[int, Tensor]] = {}
        self.scores: dict[int, dict[int, float]] = {}
        self.reconditioned: dict[int, set[int]] = defaultdict(set)

    def run_tracker_propagation(self, inference_session: Any, frame_idx: int, reverse: bool) -> Any:
        masks, scores = super().run_tracker_propagation(inference_session, frame_idx, reverse)
        ids = list(inference_session.obj_ids)
        self.tracked[frame_idx] = dict(zip(ids, masks, strict=True))
        self.scores[frame_idx] = dict(zip(ids, scores.sigmoid().tolist(), strict=True))
        return masks, scores

    def _prepare_recondition_masks(self, *args: Any, **kwargs: Any) -> Any:
        answer: Any = super()._prepare_recondition_masks(*args, **kwargs)
        self.reconditioned[kwargs["frame_idx"]] = answer[1]
        return answer


class _Mended(_Watched):
    """With the ids of before hotstart where masks and scores are put to their objects."""

    def build_outputs(self, inference_session: Any, *args: Any, **kwargs: Any) -> Any:
        after = inference_session.obj_ids
        inference_session.obj_ids = list(self.tracked[next(reversed(self.tracked))])
        try:
            return super().build_outputs(inference_session, *args, **kwargs)
        finally:
            inference_session.obj_ids = after

    def _det_track_one_frame(self, *args: Any, **kwargs: Any) -> Any:
        answer = super()._det_track_one_frame(*args, **kwargs)
        frame = kwargs["frame_idx"]
        answer[2]["obj_id_to_tracker_score_frame_wise"][frame].update(self.scores[frame])
        return answer


@contextmanager
def as_it_came() -> Iterator[None]:
    """Transformers with a kernel."""
    changed = stock.cv_utils_kernel
    kernel: Any = SimpleNamespace(generic_nms=nms, cc_2d=components)
    stock.cv_utils_kernel = kernel
    try:
        yield
    finally:
        stock.cv_utils_kernel = changed


def nms(ious: Tensor, scores: Tensor, limit: float, use_iou_matrix: bool) -> Tensor:
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if all(ious[i, j] <= limit for j in kept):
            kept.append(i)
    return torch.tensor(kept)


def components(masks: Tensor, get_counts: bool) -> tuple[Tensor, Tensor]:
    """Labels and areas of eight-connected components: (N, 1, h, w) uint8 to twice int32."""
    labels, areas = [], []
    for mask in masks.flatten(0, 1).numpy():
        _, label, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        area = stats[:, cv2.CC_STAT_AREA].copy()
        area[0] = 0
        labels.append(label)
        areas.append(area[label])
    shape = masks.shape
    both = (torch.from_numpy(np.stack(each)).int().view(shape) for each in (labels, areas))
    return next(both), next(both)


def _only_closest_pointers(tracker: Any) -> None:
    """As ``sam3/model/sam3_tracker_base.py`` of facebookresearch/sam3 collects them."""

    def pointers(
        self: Any,
        session: Any,
        obj_idx: int,
        frame: int,
        total: int,
        device: Any,
        reverse: bool,
        *_: Any,
    ) -> tuple[list[int], list[Tensor], int]:
        outputs = session.output_dict_per_obj[obj_idx]
        closest, others = self._select_closest_cond_frames(
            frame, outputs["cond_frame_outputs"], self.config.max_cond_frame_num
        )
        count = min(total, self.config.max_object_pointers_in_encoder)
        sign = -1 if reverse else 1
        found = [(sign * (frame - f), output) for f, output in closest.items()]
        for age in range(1, count):
            earlier = frame - sign * age
            output = outputs["non_cond_frame_outputs"].get(earlier, others.get(earlier))
            if output is not None:
                found.append((age, output))
        return [age for age, _ in found], [o["object_pointer"] for _, o in found], count

    tracker._get_object_pointers = MethodType(pointers, tracker)
