"""What the tracker remembers of a video, kept as small as the tracker allows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from transformers import Sam3VideoModel
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

LONG_AGO = -(10**9)  # as the number of a frame: before all others


class Memory(Sam3VideoInferenceSession):
    """Transformers' session as the container of objects, their memories and their histories.

    It never holds a frame, and after ``trim`` nothing in it grows with the video.
    ``output_dict_per_obj[i]`` holds for the i-th object of ``obj_ids`` its outputs by frame:
    ``cond_frame_outputs`` where it was detected first or reconditioned, and
    ``non_cond_frame_outputs`` where it was tracked. Of an output two parts last:
    ``maskmem_features``, (H * W, 1, 64) bfloat16, the memory of the masked frame, and
    ``object_pointer``, (1, 1, C), a summary of the object.

    Attributes:
        stride: how many frames memories are apart.
    """

    stride: int = 1

    def shelter(self, ids: Iterable[int], keep_alive: int) -> None:
        """Have no heuristic remove or hide these objects on the next frame.

        They count as the oldest ones, so that of two tracks of one thing the other goes (v:896),
        as always matched (v:852), and as never occluded (v:1018).

        Args:
            keep_alive: the most that an object can have.
        """
        for i in ids:
            self.obj_first_frame_idx[i] = LONG_AGO
            self.trk_keep_alive[i] = keep_alive
            self.unmatched_frame_inds.pop(i, None)
            self.obj_id_to_last_occluded.pop(i, None)

    def trim(self, model: Sam3VideoModel, frame: int) -> None:
        """Drop what no later frame reads, once ``frame`` is tracked."""
        for outputs in self.output_dict_per_obj.values():
            _trim_outputs(outputs, model.tracker_model.config, frame, self.stride)
        self._trim_histories(model.hotstart_delay, frame)

    def _trim_histories(self, delay: int, frame: int) -> None:
        """Forget removed objects, and of the others what only hotstart asks for.

        Hotstart removes objects within ``delay`` frames from their first one (v:860, v:905), so
        longer histories are never counted.
        """
        for of_objects in (
            self.obj_id_to_score,
            self.obj_first_frame_idx,
            self.unmatched_frame_inds,
            self.trk_keep_alive,
        ):
            for gone in of_objects.keys() - set(self.obj_ids):
                del of_objects[gone]
        for frames in self.unmatched_frame_inds.values():
            del frames[: len(frames) - min(delay, len(frames))]
        young = {i for i, first in self.obj_first_frame_idx.items() if first > frame - delay}
        for earlier, later in list(self.overlap_pair_to_frame_inds):
            if later not in young:
                del self.overlap_pair_to_frame_inds[earlier, later]

    def snapshot(self) -> dict[str, Any]:
        """All that tracking a frame changes. Tensors are shared: none is changed in place."""
        copy: dict[str, Any] = _copied(self.__dict__)
        return copy

    def roll_back(self, snapshot: dict[str, Any]) -> None:
        """Return to what ``snapshot`` took."""
        self.__dict__ = _copied(snapshot)


def memory_frame(frame: int, age: int, stride: int) -> int:
    """Which frame the memory of an age is of: the last one, then every ``stride``-th before.

    As ``memory_temporal_stride_for_eval`` of ``sam3/model/sam3_tracker_base.py``.
    """
    return frame - 1 if age == 1 else (frame - 2) // stride * stride - (age - 2) * stride


def _trim_outputs(
    outputs: dict[str, dict[int, dict[str, Any]]], config: Any, frame: int, stride: int
) -> None:
    """Keep of one object what ``propagate`` reads from the next frame on."""
    closest = sorted(outputs["cond_frame_outputs"])[-config.max_cond_frame_num :]
    oldest_pointer = frame + 2 - config.max_object_pointers_in_encoder
    oldest_memory = memory_frame(frame + 1, config.num_maskmem - 1, stride)
    for kind, frames in outputs.items():
        for f, output in list(frames.items()):
            kept = ["object_pointer"] if f >= oldest_pointer else []
            recent = f == frame or (f >= oldest_memory and f % stride == 0)
            if recent or (kind == "cond_frame_outputs" and f in closest):
                kept = ["object_pointer", "maskmem_features"]
            if not kept:
                del frames[f]
            elif f == frame and kind == "cond_frame_outputs":  # it stays; the others' slices go
                frames[f] = {part: output[part].clone() for part in kept}
            else:
                frames[f] = {part: output[part] for part in kept}


def _copied(tree: Any) -> Any:
    """A copy of nested containers that shares what is not one."""
    if isinstance(tree, dict):
        copy = tree.copy()
        for key, value in tree.items():
            copy[key] = _copied(value)
        return copy
    return tree.copy() if isinstance(tree, list | set) else tree
