"""All objects of a session through one frame: propagate, plan, add, remove."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import Sam3VideoModel

from worker.engines.sam3.cleanup import fill_holes
from worker.engines.sam3.constants import to_device
from worker.engines.sam3.lookahead import Lookahead
from worker.engines.sam3.memory import Memory
from worker.engines.sam3.plan import Facts, Plan, apply, decide
from worker.engines.sam3.pointing import PointedObject, is_pointed
from worker.engines.sam3.propagate import coarse_features, fine_features, propagate, remember


@dataclass(frozen=True, slots=True)
class Tracked:
    """One frame after it was tracked.

    Attributes:
        index: ``Frame.index``.
        ids: of the N objects on it, ascending from 0.
        prompts: N indices into ``Query.labels``.
        scores: N, 0 to 1: how certain the tracker is that the object shows on this frame; on its
            first frame the detector's score.
        detection_scores: N, 0 to 1: the detector's score on the object's first frame; None for
            objects that were pointed at.
        masks: N times (h, w), logits.
        removed: ids that hotstart removes here: they are not shown on earlier frames either.
        suppressed: ids that are not shown on this frame.
    """

    index: int
    ids: list[int]
    prompts: list[int]
    scores: list[float]
    detection_scores: list[float | None]
    masks: list[Tensor]
    removed: set[int]
    suppressed: set[int]


class MaskTracker:
    """The objects of one video, and what happens to them on a frame.

    Args:
        model: with the limits of the query; its ``max_num_objects`` is changed.
        first_score: that objects need while there is none; transformers asks for none (v:722).

    Attributes:
        frame: how many frames were tracked, which is the number of the next one.
        chunk: how many objects share a pass.
    """

    def __init__(
        self,
        model: Sam3VideoModel,
        memory: Memory,
        pointed: PointedObject,
        first_score: float = 0.0,
        frame: int = 0,
        chunk: int = 32,
    ) -> None:
        self._model = model
        self._limit = model.max_num_objects
        self._first_score = first_score
        self._pointed = pointed
        self.memory = memory
        self.frame = frame
        self.chunk = chunk

    @torch.inference_mode()
    def track(self, index: int, seen: Lookahead) -> Tracked:
        """Carry the session over its next frame; when that fails, the session is as before.

        The order is that of v:1590, but masks and scores are put to their ids before hotstart
        removes objects. Transformers does so afterwards (v:1520, v:1681), when the ids have moved
        up to other objects' masks.
        """
        before = self.memory.snapshot()
        try:
            tracked = self._track(index, seen)
        except BaseException:
            self.memory.roll_back(before)
            raise
        self.frame += 1
        return tracked

    def _track(self, index: int, seen: Lookahead) -> Tracked:
        memory, model = self.memory, self._model
        self._remove_pointed(index)
        masks, presence = self._propagate(seen)
        drawn = self._draw_pointed(index, seen)
        masks, presence = _replaced(memory, masks, presence, drawn)
        ids = list(memory.obj_ids)
        memory.shelter([i for i in ids if is_pointed(i)], model.max_trk_keep_alive)
        if not ids and self._first_score:
            seen = seen.above(self._first_score)
        # Those that were pointed at may be more than the limit, which leaves no room for others.
        model.max_num_objects = max(self._limit, len(ids))
        facts = Facts.gather(seen, masks, presence)
        plan = decide(model, memory, self.frame, seen, facts)
        if ids:
            self._memorise_tracked(seen, masks, plan)
        self._memorise_drawn(seen, drawn)
        of_object = dict(zip(ids, masks, strict=True)) | self._detected(seen, plan)
        of_object |= {i: output.pred_masks[0, 0] for i, output in drawn.items()}
        scores = dict(zip(ids, facts.shows.tolist(), strict=True))
        scores |= {i: plan.scores[i] for i in plan.new.values()}
        shown = sorted(of_object)
        tracked = Tracked(
            index=index,
            ids=shown,
            prompts=[memory.obj_id_to_prompt_id[i] for i in shown],
            scores=[scores[i] for i in shown],
            detection_scores=[plan.scores.get(i) for i in shown],
            masks=[of_object[i] for i in shown],
            removed=plan.removed,
            suppressed=plan.hidden,
        )
        if plan.new:
            self._add_objects(seen, plan)
        for gone in plan.removed:
            memory.remove_object(gone)
        plan.carry_out(memory)
        memory.trim(model, self.frame)
        return tracked

    def _propagate(self, seen: Lookahead) -> tuple[Tensor, Tensor]:
        """The known objects on this frame: (N, h, w) mask logits and (N,) presence logits."""
        if not self.memory.obj_ids:
            side = self._model.low_res_mask_size
            return seen.masks.new_zeros(0, side, side), seen.scores.new_zeros(0)
        found = propagate(self._model, self.memory, self.frame, seen, self.chunk)
        for number, outputs in self.memory.output_dict_per_obj.items():
            outputs["non_cond_frame_outputs"][self.frame] = {
                "object_pointer": found.pointers[number, None],
                "pred_masks": found.masks[number, None],
                "object_score_logits": found.presence[number, None],
            }
        masks = fill_holes(found.masks.squeeze(1), self._model.fill_hole_area)
        return masks, found.presence.flatten()

    def _memorise_tracked(self, seen: Lookahead, masks: Tensor, plan: Plan) -> None:
        """Remember the tracked masks, of overlapping objects the parts that are their own."""
        memory, frame = self.memory, self.frame
        apart = apply(self._model, memory, seen, masks, plan)
        for i in plan.reconditioned:
            outputs = memory.output_dict_per_obj[memory.obj_id_to_idx(i)]
            if output := outputs["non_cond_frame_outputs"].pop(frame, None):
                outputs["cond_frame_outputs"][frame] = output
        presence = torch.where((apart > 0).any(-1).any(-1), 10.0, -10.0)  # by area (v:1185)
        memories = remember(self._model.tracker_model, seen, apart, presence, self.chunk)
        for number, outputs in memory.output_dict_per_obj.items():
            for of_kind in outputs.values():
                if frame in of_kind:
                    of_kind[frame]["maskmem_features"] = memories[number]

    def _remove_pointed(self, index: int) -> None:
        """Forget objects that the user removed; those that words found would be found again."""
        for i in self._pointed.removed(index):
            if is_pointed(i):
                self.memory.remove_object(i)

    def _draw_pointed(self, index: int, seen: Lookahead) -> dict[int, Any]:
        """Take in what the user says of objects on this frame; known ones are corrected.

        Returns:
            By id, see ``PointedObject.draw``.
        """
        memory, drawn = self.memory, {}
        for hint in self._pointed.hints(index):
            drawn[hint.id] = output = self._pointed.draw(
                self._model.tracker_model, memory, self.frame, seen, hint
            )
            outputs = memory.output_dict_per_obj[memory.obj_id_to_idx(hint.id)]
            outputs["non_cond_frame_outputs"].pop(self.frame, None)
            outputs["cond_frame_outputs"][self.frame] = {"object_pointer": output.object_pointer}
            if hint.label is not None:
                memory.obj_id_to_prompt_id[hint.id] = hint.label
        return drawn

    def _memorise_drawn(self, seen: Lookahead, drawn: dict[int, Any]) -> None:
        """Remember masks that the user gave as they are: finer than tracked ones, and binary."""
        if drawn:
            self._keep(
                seen,
                [self.memory.obj_id_to_idx(i) for i in drawn],
                [output.high_res_masks for output in drawn.values()],
                [output.object_score_logits for output in drawn.values()],
            )

    def _keep(
        self, seen: Lookahead, numbers: list[int], masks: list[Tensor], presence: list[Tensor]
    ) -> None:
        """Remember binary masks, (1, 1, S, S) logits, in the outputs of this frame (t:2755)."""
        for n in range(0, len(numbers), self.chunk):
            part = slice(n, n + self.chunk)
            memories = remember(
                self._model.tracker_model,
                seen,
                torch.cat(masks[part]),
                torch.cat(presence[part]),
                self.chunk,
                binary=True,
            )
            for number, each in zip(numbers[part], memories, strict=True):
                outputs = self.memory.output_dict_per_obj[number]
                conditions = self.frame in outputs["cond_frame_outputs"]
                kind = "cond_frame_outputs" if conditions else "non_cond_frame_outputs"
                outputs[kind][self.frame]["maskmem_features"] = each

    def _detected(self, seen: Lookahead, plan: Plan) -> dict[int, Tensor]:
        """The objects whose mask on this frame is the detector's: new and reconditioned ones."""
        masks = {i: seen.masks[detection] for i, detection in plan.reconditioned.items()}
        if plan.new:
            chosen = to_device(list(plan.new), seen.masks)
            new = fill_holes(seen.masks[chosen], self._model.fill_hole_area)
            masks |= dict(zip(plan.new.values(), new, strict=True))
        return masks

    def _add_objects(self, seen: Lookahead, plan: Plan) -> None:
        """Start to track new objects from their detections (v:1447).

        As in transformers the objects tracked before are memorised anew along with them, from
        their masks made binary; there they also pass the tracker a second time, with the result
        of the first (t:1838).
        """
        memory, tracker = self.memory, self._model.tracker_model
        coarse = coarse_features(tracker, seen)
        numbers, masks, presence = self._tracked_here()
        for detection, i in plan.new.items():
            number = memory.obj_id_to_idx(i)
            mask = (seen.masks[detection] >= 0.5)[None, None].to(coarse.dtype)
            start = tracker._use_mask_as_output(coarse, fine_features(tracker, seen), mask)
            memory.output_dict_per_obj[number]["cond_frame_outputs"][self.frame] = {
                "object_pointer": start.object_pointer
            }
            numbers.append(number)
            masks.append(start.high_res_masks)
            presence.append(start.object_score_logits)
        self._keep(seen, numbers, masks, presence)

    def _tracked_here(self) -> tuple[list[int], list[Tensor], list[Tensor]]:
        """The objects propagated to this frame and not reconditioned on it.

        Returns:
            Their numbers, (1, 1, S, S) mask logits and (1, 1, 1) presence logits.
        """
        size = self._model.tracker_model.image_size
        numbers, masks, presence = [], [], []
        for number, outputs in sorted(self.memory.output_dict_per_obj.items()):
            output = outputs["non_cond_frame_outputs"].get(self.frame)
            if output is not None:
                low = output["pred_masks"]
                high = F.interpolate(low.float(), (size, size), mode="bilinear")
                numbers.append(number)
                masks.append(high.to(low.dtype))
                presence.append(output["object_score_logits"])
        return numbers, masks, presence


def _replaced(
    memory: Memory, masks: Tensor, presence: Tensor, drawn: dict[int, Any]
) -> tuple[Tensor, Tensor]:
    """(N, h, w) masks and (N,) presence with those that were drawn, new objects at the end."""
    for i, output in drawn.items():
        number = memory.obj_id_to_idx(i)
        mask, shows = output.pred_masks[0].to(masks), output.object_score_logits[0, 0].to(presence)
        masks = torch.cat([masks[:number], mask, masks[number + 1 :]])
        presence = torch.cat([presence[:number], shows, presence[number + 1 :]])
    return masks, presence
