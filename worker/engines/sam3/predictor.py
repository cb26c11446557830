"""SAM3's video model as an engine: loaded once, one session for each video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import transformers
from torch.nn.attention import activate_flash_attention_impl

from shoal.errors import InvalidPrompt
from worker.engines import cuda
from worker.engines.base import FrameResult, Query
from worker.engines.gpu import out_of_memory_named
from worker.engines.sam3 import weights
from worker.engines.sam3.constants import prepare
from worker.engines.sam3.detect import detect, learn
from worker.engines.sam3.examples import WITHOUT_WORDS
from worker.engines.sam3.lookahead import Prompts, encode_prompts
from worker.engines.sam3.session import Fits, Sam3Session
from worker.engines.sam3.streams import Streams
from worker.engines.sam3.warmup import compile_parts, warm_up
from worker.video.frame import Frame, VideoInfo

# Lookahead and tracker take a share each of the memory that is free when a video starts; the rest
# is for its objects. Bytes were counted with fake tensors at full size in half precision: of a
# frame looked ahead (encoder, feature pyramid) with one prompt and with each further one, and of
# an object in a pass of the memory attention.
SHARE = 0.3
FRAME_BYTES = 400 * 2**20
PROMPT_BYTES = 200 * 2**20
OBJECT_BYTES = 300 * 2**20
MAX_LOOKAHEAD = 8
MAX_CHUNK = 32

TRACKING_FPS = 5.0


class Sam3Predictor:
    """``Sam3VideoModel`` on the first CUDA device in half precision, or on the CPU in float32.

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
        found = cuda.choose()
        device = torch.device(f"cuda:{found.index}" if found else "cpu")
        self._loaded = weights.load(
            weights_at, revision, device, found.dtype if found else torch.float32
        )
        prepare(self._loaded.model)
        self._lookahead = lookahead
        self._streams = Streams(device)
        self.device = str(found or "cpu")
        self.versions = {
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "weights": self._loaded.identity,
        }
        if found and found.attention == cuda.FLASH_3:
            activate_flash_attention_impl("FA3")
            self.versions["attention"] = "FA3"
        if compile_with:
            compile_parts(self._loaded.model, compile_with)
            self.versions["compiled_with"] = compile_with
        if found:
            warm_up(self)

    def tracking_fps(self, video: VideoInfo) -> float:
        """At lower rates objects move too far between two frames to be recognized."""
        return TRACKING_FPS

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> Sam3Session:
        """Start a video, or continue one; see ``Predictor.open``.

        Raises:
            InvalidPrompt: there is none, or one is too long for the text encoder.
            GpuOutOfMemory: the texts alone do not fit.
        """
        query = replace(query, prompts=tuple(dict.fromkeys(query.prompts)))
        prompts = self._encode(query)
        fits = self._choose_fits(len(query.concepts))
        session = Sam3Session(self._loaded, video, query, prompts, fits, self._streams)
        if state is not None:
            session.restore(state)
        return session

    def detect(
        self, frames: Sequence[Frame], query: Query, shown: Sequence[Frame] = ()
    ) -> list[FrameResult]:
        """The detector's answer, and what visual prompts draw; see ``PictureDetector.detect``.

        It takes its turn in the encoder's thread, between two batches of a video.

        Raises:
            GpuOutOfMemory: a frame does not fit beside the video that is being tracked.
        """
        query = replace(query, prompts=tuple(dict.fromkeys(query.prompts)))
        return self._streams.encode(self._detect, frames, query, shown).result()

    def _detect(
        self, frames: Sequence[Frame], query: Query, shown: Sequence[Frame]
    ) -> list[FrameResult]:
        prompts = self._encode(query)
        with out_of_memory_named(f"on {self.device} for a preview"):
            if prompts:
                learn(self._loaded, shown, query, prompts, self._streams)
            return [detect(self._loaded, frame, query, prompts, self._streams) for frame in frames]

    def start_scores(self, prompts: Sequence[str]) -> dict[str, float]:
        """The same for all prompts; see ``PictureDetector.start_scores``."""
        return dict.fromkeys(prompts, float(self._loaded.model.new_det_thresh))

    def _encode(self, query: Query) -> Prompts | None:
        """
        Raises:
            InvalidPrompt, GpuOutOfMemory
        """
        if not query.labels:
            raise InvalidPrompt("no prompt given")
        if not query.concepts:
            return None
        with out_of_memory_named(f"on {self.device} for the prompts"):
            return self._encode_concepts(query)

    def _encode_concepts(self, query: Query) -> Prompts:
        model = self._loaded.model
        config: Any = model.config
        limit = config.detector_config.text_config.max_position_embeddings
        tokens = []
        wordless = len(query.concepts) - len(query.prompts)
        for text in (*query.prompts, *[WITHOUT_WORDS] * wordless):
            encoded = self._loaded.processor.tokenizer(
                text, return_tensors="pt", padding="max_length", max_length=limit
            )
            if (count := encoded.input_ids.shape[1]) > limit:
                raise InvalidPrompt(
                    f"the prompt {text!r} has {count} tokens; SAM3 supports {limit}",
                    hint="Use a short noun phrase, such as 'red car'.",
                )
            tokens.append(encoded.to(model.device))
        return encode_prompts(model, tokens, query.concepts)

    def _choose_fits(self, prompts: int) -> Fits:
        device = self._loaded.model.device
        if device.type != "cuda":
            return Fits(self._lookahead or 1, MAX_CHUNK)
        share = free_memory(device) * SHARE
        frames = int(share // (FRAME_BYTES + prompts * PROMPT_BYTES))
        objects = int(share // OBJECT_BYTES)
        return Fits(
            self._lookahead or max(1, min(MAX_LOOKAHEAD, frames)),
            max(1, min(MAX_CHUNK, objects)),
        )


def free_memory(device: torch.device) -> int:
    """Bytes that a video can have: what the driver has, and what torch's allocator keeps unused.

    Without the latter the second video of a worker would get a smaller lookahead than the first,
    and round differently.
    """
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + kept
