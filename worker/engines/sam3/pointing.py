"""Objects that a user points at: what is said of them on a frame, and the masks that this gives.

As ``Sam3TrackerVideoProcessor.add_inputs_to_inference_session`` and the tracker's own ``forward``
(t:1791) take it: the first prompt begins a track on the bare frame, a later one is read together
with what the tracker remembers of the object. Either way the frame becomes a conditioning one, as
in Meta's own package; transformers keeps a correction among the tracked frames, where it is soon
forgotten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from pycocotools import mask as coco
from torch import Tensor
from transformers import Sam3TrackerVideoModel

from shoal.errors import InvalidVisualPrompt
from shoal.model.prompts import FIRST_POINTED_ID
from worker.engines.base import Query, VisualPrompt
from worker.engines.sam3.lookahead import Lookahead
from worker.engines.sam3.memory import Memory
from worker.engines.sam3.propagate import coarse_features, condition, fine_features

FIRST_CORNER, LAST_CORNER = 2, 3  # labels of a box's points


@dataclass(frozen=True, slots=True)
class PointHint:
    """What is said of one object on one frame.

    Attributes:
        id: of the object, from 0 as in ``Memory``.
        label: index into ``Query.labels``; None for an object that was found and has one.
        prompt: in pixels of the video.
    """

    id: int
    label: int | None
    prompt: VisualPrompt


class PointedObject:
    """All that a query says of objects beside words.

    Args:
        size: height and width of the video in pixels.
    """

    def __init__(self, query: Query, size: tuple[int, int]) -> None:
        self._size = size
        ids, labels = query.object_ids, query.labels
        self._hints: dict[int, list[PointHint]] = defaultdict(list)
        for prompt in query.objects:
            if prompt.object_id is None:
                i, label = ids[prompt.label, prompt.object] - 1, labels.index(prompt.label)
                self._hints[prompt.frame].append(PointHint(i, label, prompt))
            else:
                self._hints[prompt.frame].append(PointHint(prompt.object_id - 1, None, prompt))
        self._removals = query.remove_objects

    def hints(self, index: int) -> list[PointHint]:
        """What is said on the frame with this ``Frame.index``, of objects not yet removed."""
        removed = self.removed(index)
        return [hint for hint in self._hints.get(index, []) if hint.id not in removed]

    def removed(self, index: int) -> set[int]:
        """Ids of the objects that are not shown on the frame with this ``Frame.index``."""
        return {each.object_id - 1 for each in self._removals if each.frame <= index}

    def draw(
        self,
        tracker: Sam3TrackerVideoModel,
        memory: Memory,
        frame: int,
        seen: Lookahead,
        hint: PointHint,
    ) -> Any:
        """The object's mask on the frame, as the prompt has it.

        Returns:
            ``pred_masks``, (1, 1, h, w), ``high_res_masks``, (1, 1, S, S), and
            ``object_score_logits``, (1, 1, 1), all logits; ``object_pointer``, (1, 1, C).

        Raises:
            InvalidVisualPrompt: an object that shall be corrected is not tracked on this frame.
        """
        if hint.label is None and hint.id not in memory.obj_ids:
            raise InvalidVisualPrompt(
                f"object {hint.id + 1} is not tracked on frame {hint.prompt.frame}",
                hint="Use an ID and a frame of the results of the same job without corrections.",
            )
        fine = fine_features(tracker, seen)
        if hint.prompt.mask:
            mask = self._mask(hint.prompt, tracker.image_size).to(seen.scores)
            return tracker._use_mask_as_output(coarse_features(tracker, seen), fine, mask)
        points, labels = self._points(hint.prompt, tracker.image_size)
        points, labels = points.to(seen.scores.device), labels.to(seen.scores.device)
        known = hint.id in memory.obj_ids
        if known:
            features = condition(tracker, memory, frame, seen, [memory.obj_id_to_idx(hint.id)])
        else:
            bare = seen.features[-1] + tracker.no_memory_embedding
            features = bare.permute(1, 2, 0).unflatten(2, tracker.backbone_feature_sizes[-1])
        several = tracker._use_multimask(not known, {"point_labels": labels})
        return tracker._single_frame_forward(
            input_points=points,
            input_labels=cast(torch.LongTensor, labels),
            image_embeddings=cast(Tensor, [*fine, features]),
            multimask_output=several,
        )

    def _points(self, prompt: VisualPrompt, side: int) -> tuple[Tensor, Tensor]:
        """Points in pixels of the model's input, (1, 1, n, 2), and their labels, (1, 1, n)."""
        points: Sequence[tuple[float, float, int]] = prompt.points
        if prompt.box:
            x0, y0, x1, y1 = prompt.box
            points = [(x0, y0, FIRST_CORNER), (x1, y1, LAST_CORNER)]
        height, width = self._size
        places = torch.tensor([[x, y] for x, y, _ in points], dtype=torch.float32)
        places = places * torch.tensor([side / width, side / height])
        labels = torch.tensor([label for *_, label in points], dtype=torch.int32)
        return places[None, None], labels[None, None]

    def _mask(self, prompt: VisualPrompt, side: int) -> Tensor:
        """The mask at the size of the model's input, (1, 1, S, S) of 0 and 1."""
        assert prompt.mask is not None
        full = coco.decode({"size": list(prompt.mask.size), "counts": prompt.mask.counts})
        scaled = F.interpolate(
            torch.from_numpy(full).float()[None, None],
            (side, side),
            mode="bilinear",
            antialias=True,
        )
        return (scaled >= 0.5).float()


def is_pointed(i: int) -> bool:
    """Whether an id in ``Memory`` is that of an object that was pointed at."""
    return i >= FIRST_POINTED_ID - 1
