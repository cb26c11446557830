"""Transformers' own tracker, told where an object is, as the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Sam2VideoVideoProcessor, Sam3ImageProcessor, Sam3TrackerVideoProcessor
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoInferenceSession,
)

from tests.sam3 import tiny, videos
from worker.engines.sam3.cleanup import fill_holes
from worker.engines.sam3.lookahead import look_ahead
from worker.engines.sam3.predictor import Sam3Predictor
from worker.video.frame import Frame


class StockTracker:
    """One video; the frames' features are those that the engine itself computes."""

    def __init__(self, predictor: Sam3Predictor, frames: Sequence[Frame]) -> None:
        self._model: Any = predictor._loaded.model
        square = {"height": tiny.SIZE, "width": tiny.SIZE}
        self._processor: Any = Sam3TrackerVideoProcessor(
            Sam3ImageProcessor(size=square), Sam2VideoVideoProcessor(size=square)
        )
        made = predictor._loaded.processor.video_processor(
            videos=torch.stack(
                [
                    torch.from_numpy(frame.picture.to_ndarray(format="rgb24")).permute(2, 0, 1)
                    for frame in frames
                ]
            ),
            return_tensors="pt",
        )
        self.session = Sam3TrackerVideoInferenceSession(
            video=made.pixel_values_videos[0],
            video_height=videos.HEIGHT,
            video_width=videos.WIDTH,
            dtype=torch.float32,
            max_vision_features_cache_size=len(frames),
        )
        for number, pixels in enumerate(made.pixel_values_videos[0]):
            (seen,) = look_ahead(self._model, None, pixels[None])
            self.session.cache.cache_vision_features(
                number, {"vision_feats": seen.features, "vision_pos_embeds": [seen.positions]}
            )

    @torch.inference_mode()
    def say(self, frame: int, **inputs: Any) -> None:
        """Point at objects; all of them in one call, by ``obj_ids``."""
        self._processor.add_inputs_to_inference_session(self.session, frame_idx=frame, **inputs)

    @torch.inference_mode()
    def run(self, frame: int, *, tidy: bool = False) -> Tensor:
        """Masks of all objects on a frame as the video has them, (N, H, W) bool.

        Args:
            tidy: fill holes and drop islands, as SAM3's video model does where it has tracked.
        """
        low = self._model.tracker_model(inference_session=self.session, frame_idx=frame).pred_masks
        if tidy:
            low = fill_holes(low[:, 0], self._model.fill_hole_area)[:, None]
        size = (videos.HEIGHT, videos.WIDTH)
        scaled: Tensor = torch.nn.functional.interpolate(low, size, mode="bilinear")[:, 0] > 0
        return scaled

    def keep(self, frame: int) -> None:
        """Let a corrected frame condition later ones, as in Meta's own package."""
        for outputs in self.session.output_dict_per_obj.values():
            if frame in outputs["non_cond_frame_outputs"]:
                outputs["cond_frame_outputs"][frame] = outputs["non_cond_frame_outputs"].pop(frame)
