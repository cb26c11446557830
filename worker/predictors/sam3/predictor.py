"""SAM3's video model as an engine: loaded once, one session for each video."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import transformers
from transformers import Sam3VideoModel

from shoal.errors import GpuOutOfMemory, InvalidPrompt
from worker.predictors.base import Query
from worker.predictors.sam3 import weights
from worker.predictors.sam3.cleanup import use_fast_mask_iou
from worker.predictors.sam3.lookahead import Prompts, encode_prompts
from worker.predictors.sam3.session import Sam3Session
from worker.video.frame import VideoInfo

# The lookahead takes a share of the memory that is free when a video starts; the rest is for its
# objects. Bytes for each frame looked ahead are estimates for the full size in bfloat16, and
# generous: encoder activations (5,184 tokens of 1,024 channels, 4,736 within a block) and feature
# pyramid of a frame; a copy of the pyramid and 200 masks of 288 x 288 for each prompt.
LOOKAHEAD_SHARE = 0.3
FRAME_BYTES = 600 * 2**20
PROMPT_BYTES = 400 * 2**20
MAX_LOOKAHEAD = 8


class Sam3Predictor:
    """``Sam3VideoModel`` on the first CUDA device in bfloat16, or on the CPU in float32.

    Args:
        weights: a directory; empty or ``weights.REPOSITORY`` for that one on the Hugging Face hub.
        revision: of the repository on the hub.
        lookahead: frames encoded together; by default as many as memory allows, 1 on a CPU.
        compile_with: a backend of ``torch.compile``, such as ``inductor``; empty for none.

    Raises:
        ModelLoadFailed: the weights are missing, gated or another model's.
    """

    name = "sam3"
    steps_again = False

    def __init__(
        self,
        weights_at: str = "",
        revision: str = "main",
        lookahead: int | None = None,
        compile_with: str = "",
    ) -> None:
        cuda = torch.cuda.is_available()
        device = torch.device("cuda:0" if cuda else "cpu")
        use_fast_mask_iou()
        self._loaded = weights.load(
            weights_at, revision, device, torch.bfloat16 if cuda else torch.float32
        )
        self._lookahead = lookahead
        self.device = f"{device} {torch.cuda.get_device_name(device)}" if cuda else "cpu"
        self.versions = {
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "weights": self._loaded.identity,
        }
        if compile_with:
            compile_parts(self._loaded.model, compile_with)
            self.versions["compiled_with"] = compile_with

    def tracking_fps(self, video: VideoInfo) -> float:
        """0: SAM3 finds an object again at any rate."""
        return 0.0

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> Sam3Session:
        """Start a video, or continue one; see ``Predictor.open``.

        Raises:
            InvalidPrompt: there is none, or one is too long for the text encoder.
            GpuOutOfMemory: the texts alone do not fit.
        """
        query = replace(query, prompts=tuple(dict.fromkeys(query.prompts)))
        if not query.labels:
            raise InvalidPrompt("there is no prompt")
        try:
            prompts = self._encode(query.prompts) if query.prompts else None
        except torch.OutOfMemoryError as error:
            raise GpuOutOfMemory(f"{self.device} has no memory left for a video") from error
        lookahead = self._choose_lookahead(len(query.prompts))
        session = Sam3Session(self._loaded, video, query, prompts, lookahead)
        if state is not None:
            session.restore(state)
        return session

    def _encode(self, texts: tuple[str, ...]) -> Prompts:
        model = self._loaded.model
        config: Any = model.config
        limit = config.detector_config.text_config.max_position_embeddings
        tokens = []
        for text in texts:
            encoded = self._loaded.processor.tokenizer(
                text, return_tensors="pt", padding="max_length", max_length=limit
            )
            if (count := encoded.input_ids.shape[1]) > limit:
                raise InvalidPrompt(
                    f"the prompt {text!r} has {count} tokens, SAM3 reads {limit}",
                    hint="Use fewer words: SAM3 wants a short noun phrase, such as 'red car'.",
                )
            tokens.append(encoded.to(model.device))
        return encode_prompts(model, tokens, texts)

    def _choose_lookahead(self, prompts: int) -> int:
        if self._lookahead is not None:
            return self._lookahead
        if self._loaded.model.device.type != "cuda":
            return 1
        free, _ = torch.cuda.mem_get_info(self._loaded.model.device)
        fitting = int(free * LOOKAHEAD_SHARE) // (FRAME_BYTES + prompts * PROMPT_BYTES)
        return max(1, min(MAX_LOOKAHEAD, fitting))


def compile_parts(model: Sam3VideoModel, backend: str) -> None:
    """Have those parts compiled at their first use that capture as one graph each.

    The detector does not: it would break into ten. Frames always come in batches of one size, but
    objects and their memories in any number.
    """
    tracker = model.tracker_model
    model.detector_model.vision_encoder.compile(backend=backend)
    tracker.memory_attention.compile(backend=backend, dynamic=True)
    tracker.memory_encoder.compile(backend=backend, dynamic=True)
