"""All objects of a session through one frame: propagate, plan, add, remove."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import Sam3VideoModel

from worker.predictors.sam3.cleanup import fill_holes
from worker.predictors.sam3.lookahead import Seen
from worker.predictors.sam3.memory import Memory
from worker.predictors.sam3.pointing import Pointed, is_pointed
from worker.predictors.sam3.propagate import coarse_features, fine_features, propagate


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


class Tracker:
    """The objects of one video, and what happens to them on a frame.

    Args:
        model: with the limits of the query; its ``max_num_objects`` is changed.
        first_score: that objects need while there is none; transformers asks for none (v:722).

    Attributes:
        frame: how many frames were tracked, which is the number of the next one.
    """

    def __init__(
        self,
        model: Sam3VideoModel,
        memory: Memory,
        pointed: Pointed,
        first_score: float = 0.0,
        frame: int = 0,
    ) -> None:
        self._model = model
        self._limit = model.max_num_objects
        self._first_score = first_score
        self._pointed = pointed
        self.memory = memory
        self.frame = frame

    @torch.inference_mode()
    def track(self, index: int, seen: Seen) -> Tracked:
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

    def _track(self, index: int, seen: Seen) -> Tracked:
        memory = self.memory
        self._remove_pointed(index)
        memory.cache.cache_vision_features(
            self.frame, {"vision_feats": seen.features, "vision_pos_embeds": [seen.positions]}
        )
        masks, presence = self._propagate(seen)
        drawn = self._draw_pointed(index, seen)
        masks, presence = _replaced(memory, masks, presence, drawn)
        ids = list(memory.obj_ids)
        memory.shelter([i for i in ids if is_pointed(i)], self._model.max_trk_keep_alive)
        if not ids:
            seen = seen.above(self._first_score)
        # Those that were pointed at may be more than the limit, which leaves no room for others.
        self._model.max_num_objects = max(self._limit, len(ids))
        decision, plan = self._model.run_tracker_update_planning_phase(
            inference_session=memory,
            frame_idx=self.frame,
            reverse=False,
            det_out={"mask": seen.masks, "scores": seen.scores},
            tracker_low_res_masks_global=masks,
            tracker_obj_scores_global=presence,
            det_idx_to_prompt_id=dict(enumerate(seen.prompts)),
        )
        self._memorise(drawn)
        of_object = dict(zip(ids, masks, strict=True)) | self._detected(seen, decision)
        of_object |= {i: output.pred_masks[0, 0] for i, output in drawn.items()}
        scores = dict(zip(ids, presence.sigmoid().tolist(), strict=True))
        new_scores = seen.scores[decision["new_det_out_inds"]].tolist()
        scores |= dict(zip(decision["new_det_obj_ids"], new_scores, strict=True))
        shown = sorted(of_object)
        tracked = Tracked(
            index=index,
            ids=shown,
            prompts=[memory.obj_id_to_prompt_id[i] for i in shown],
            scores=[scores[i] for i in shown],
            detection_scores=[plan["obj_id_to_score"].get(i) for i in shown],
            masks=[of_object[i] for i in shown],
            removed=set(decision["obj_ids_newly_removed"]),
            suppressed=set(plan["extra_metadata"]["suppressed_obj_ids"][self.frame]),
        )
        if decision["new_det_obj_ids"]:
            self._add_objects(seen, decision)
        for gone in decision["obj_ids_newly_removed"]:
            memory.remove_object(gone)
        memory.adopt(plan)
        memory.trim(self._model, self.frame)
        return tracked

    def _propagate(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """The known objects on this frame: (N, h, w) mask logits and (N,) presence logits."""
        if not self.memory.obj_ids:
            side = self._model.low_res_mask_size
            return seen.masks.new_zeros(0, side, side), seen.scores.new_zeros(0)
        found = propagate(self._model, self.memory, self.frame, seen)
        for number, outputs in self.memory.output_dict_per_obj.items():
            outputs["non_cond_frame_outputs"][self.frame] = {
                "object_pointer": found.pointers[number, None],
                "pred_masks": found.masks[number, None],
                "object_score_logits": found.presence[number, None],
            }
        masks = fill_holes(found.masks.squeeze(1), self._model.fill_hole_area)
        return masks, found.presence.flatten()

    def _remove_pointed(self, index: int) -> None:
        """Forget objects that the user removed; those that words found would be found again."""
        for i in self._pointed.removed(index):
            if is_pointed(i):
                self.memory.remove_object(i)

    def _draw_pointed(self, index: int, seen: Seen) -> dict[int, Any]:
        """Take in what the user says of objects on this frame; known ones are corrected.

        Returns:
            By id, see ``Pointed.draw``.
        """
        memory, drawn = self.memory, {}
        for hint in self._pointed.hints(index):
            drawn[hint.id] = output = self._pointed.draw(
                self._model.tracker_model, memory, self.frame, seen, hint
            )
            outputs = memory.output_dict_per_obj[memory.obj_id_to_idx(hint.id)]
            outputs["non_cond_frame_outputs"].pop(self.frame, None)
            outputs["cond_frame_outputs"][self.frame] = {"object_pointer": output.object_pointer}
            memory.obj_id_to_prompt_id[hint.id] = hint.label
        return drawn

    def _memorise(self, drawn: dict[int, Any]) -> None:
        """Remember masks that the user gave as they are: finer than tracked ones, and binary."""
        if drawn:
            self._model.tracker_model._batch_encode_memories(
                inference_session=self.memory,
                frame_idx=self.frame,
                objects_needing_memory_encoding=[self.memory.obj_id_to_idx(i) for i in drawn],
                high_res_masks_for_memory=[output.high_res_masks for output in drawn.values()],
                object_score_logits_for_memory=[
                    output.object_score_logits for output in drawn.values()
                ],
                is_mask_from_pts_per_obj=[True],
            )

    def _detected(self, seen: Seen, decision: dict[str, Any]) -> dict[int, Tensor]:
        """The objects whose mask on this frame is the detector's: new and reconditioned ones."""
        new = fill_holes(seen.masks[decision["new_det_out_inds"]], self._model.fill_hole_area)
        masks = dict(zip(decision["new_det_obj_ids"], new, strict=True))
        for reconditioned in decision["reconditioned_obj_ids"]:
            match = decision["trk_id_to_max_iou_high_conf_det"][reconditioned]
            masks[reconditioned] = seen.masks[match]
        return masks

    def _add_objects(self, seen: Seen, decision: dict[str, Any]) -> None:
        """Start to track new objects from their detections (v:1447).

        As in transformers the objects tracked before are memorised anew along with them, from
        their masks made binary; there they also pass the tracker a second time, with the result
        of the first (t:1838).
        """
        memory, tracker = self.memory, self._model.tracker_model
        coarse = coarse_features(tracker, seen)
        numbers, masks, presence = self._tracked_here()
        for i, detection in zip(
            decision["new_det_obj_ids"], decision["new_det_out_inds"], strict=True
        ):
            number = memory.obj_id_to_idx(i)
            mask = (seen.masks[detection] >= 0.5)[None, None].to(coarse.dtype)
            start = tracker._use_mask_as_output(coarse, fine_features(tracker, seen), mask)
            memory.output_dict_per_obj[number]["cond_frame_outputs"][self.frame] = {
                "object_pointer": start.object_pointer
            }
            numbers.append(number)
            masks.append(start.high_res_masks)
            presence.append(start.object_score_logits)
        tracker._batch_encode_memories(
            inference_session=memory,
            frame_idx=self.frame,
            objects_needing_memory_encoding=numbers,
            high_res_masks_for_memory=masks,
            object_score_logits_for_memory=presence,
            is_mask_from_pts_per_obj=[True],
        )

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
