"""What a frame costs SAM3, counted without a GPU: ``python -m benchmarks.sam3_counts``.

Kernels and waits of the host are counted on a model with as many layers as the real one, but
narrow ones, so that a CPU runs it: their number depends on neither width nor size of the frame.
Arithmetic and bytes are counted at full size with fake tensors, which have shapes and no values: of
the engine by a whole session (``tests.sam3.fake_gpu``), of the reference, which asks the device for
values all the time, by the passes that it makes through the parts of the model. Nothing here is a
time.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.sam3 import fake_gpu, tiny, videos  # isort: skip - the first to import torchvision

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import Sam3VideoConfig, Sam3VideoModel, Sam3VideoProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.logging import disable_progress_bar

from benchmarks.report import print_table
from tests.sam3.launches import Launches
from worker.engines.base import Query
from worker.engines.sam3 import propagate, session as sessions
from worker.engines.sam3.lookahead import look_ahead
from worker.engines.sam3.predictor import Sam3Predictor
from worker.video.frame import VideoInfo

ATTENTION = {  # which the counter knows by the names of its kernels only
    torch.ops.aten.scaled_dot_product_attention: (
        lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)
    )
}
# After so many frames an object has all its memories. It gets pointers for eight more, which are
# 32 of its 36,000 tokens.
PROMPTS, OBJECTS, FRAMES = 2, 10, 8
NAMES = ("a", "bc", "d", "e")
SIDE = 1008  # pixels: of the square that frames are scaled to
VIDEO = VideoInfo(1920, 1080, fps=25, duration_s=0, frames=0, codec="made up")
ENCODER, TRACKER = "encoder and detector", "tracker and drawing"


class _Traffic(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        answer = func(*args, **kwargs or {})
        read, written = _tensors((args, kwargs)), _tensors(answer)
        known = {x.untyped_storage()._cdata for x in read}
        if func._schema.is_mutable or any(x.untyped_storage()._cdata not in known for x in written):
            self.bytes += sum(x.numel() * x.element_size() for x in read + written)
        return answer


def _tensors(tree: Any) -> list[Tensor]:
    return [each for each in tree_leaves(tree) if isinstance(each, Tensor)]


@dataclass
class Costs:
    """
    Attributes:
        flops: of matrix products, convolutions and attention.
        bytes: read and written, if each operation does so anew.
    """

    flops: float = 0
    bytes: float = 0

    def within(self, work: Callable[..., Any], *args: Any) -> Any:
        traffic = _Traffic()
        with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter, traffic:
            answer = work(*args)
        self.add(Costs(counter.get_total_flops(), traffic.bytes))
        return answer

    def add(self, other: Costs, times: int = 1) -> None:
        self.flops += times * other.flops
        self.bytes += times * other.bytes


@dataclass
class Reference:
    """
    Attributes:
        counts: by part.
        passes: of a frame through each part of the model, by their batch.
    """

    counts: dict[str, Launches]
    passes: dict[str, Counter[int]] = field(default_factory=dict)


def forced(count: int, side: int) -> dict[str, Any]:
    """Detections of bars that lie one below the other, of the first prompt."""
    masks = torch.full((count, side, side), -10.0)
    for n in range(count):
        top = n * side // count
        masks[n, top : top + max(1, side // count - 1), side // 4 : side // 2] = 10.0
    return {"masks": masks, "scores": torch.full((count,), 0.9)}


def count_ours(checkpoint: Path) -> dict[str, Launches]:
    """Encoder and tracker of the engine on a frame, after its memories have filled."""
    predictor = Sam3Predictor(str(checkpoint))
    model = predictor._loaded.model
    model.max_num_objects = OBJECTS
    bars = forced(OBJECTS, model.low_res_mask_size)
    patched: Any = sessions

    def look(*args: Any) -> Any:
        return [
            replace(seen, masks=bars["masks"].clone(), scores=bars["scores"], prompts=[0] * OBJECTS)
            for seen in look_ahead(*args)
        ]

    patched.look_ahead = look
    session = predictor.open(videos.INFO, Query(NAMES[:PROMPTS]))
    frames = videos.make(FRAMES + 1)
    session.step(frames[:-1])
    session._catch_up()
    session._settled(last=True)
    encoder, tracker = Launches(), Launches()
    pixels = session._pixels(frames[-1])[None]
    (seen,) = encoder.within(look_ahead, session._model, session._prompts, pixels)
    (seen,) = look(session._model, session._prompts, pixels)
    session._tracked.append(tracker.within(session._tracker.track, FRAMES, seen))
    tracker.within(session._settled, True)
    session.close()
    patched.look_ahead = look_ahead
    return {ENCODER: encoder, TRACKER: tracker}


@torch.inference_mode()
def count_stock(checkpoint: Path) -> Reference:
    """The same of transformers' own propagation, as its documentation shows it."""
    model: Any = Sam3VideoModel.from_pretrained(checkpoint)
    model.train(False)
    model.max_num_objects = OBJECTS
    processor: Any = Sam3VideoProcessor.from_pretrained(checkpoint)
    bars = forced(OBJECTS, model.low_res_mask_size)
    detect, encoder, every = model.run_detection, Launches(), Launches()
    encode = model.detector_model.get_vision_features
    counting = False

    def run_detection(*args: Any, **kwargs: Any) -> Any:
        answers = (
            encoder.within(lambda: detect(*args, **kwargs)) if counting else detect(*args, **kwargs)
        )
        found = {p: {k: v[:0] for k, v in each.items()} for p, each in answers.items()}
        found[min(found)] = {
            "mask": bars["masks"],
            "scores": bars["scores"],
            "bbox": torch.zeros(OBJECTS, 4),
        }
        return found

    def get_vision_features(*args: Any, **kwargs: Any) -> Any:
        if not counting:
            return encode(*args, **kwargs)
        return encoder.within(lambda: encode(*args, **kwargs))

    model.run_detection = run_detection
    model.detector_model.get_vision_features = get_vision_features
    pictures = [f.picture.to_ndarray(format="rgb24") for f in videos.make(FRAMES + 1)]
    session = processor.init_video_session(video=pictures)
    processor.add_text_prompt(session, list(NAMES[:PROMPTS]))

    def one_frame(frame: int) -> None:
        output = model(inference_session=session, frame_idx=frame)
        shown = processor.postprocess_outputs(session, output)
        shown["masks"].float().cpu()

    for frame in range(FRAMES):
        one_frame(frame)
    passes = watch_passes(model)
    counting = True
    every.within(one_frame, FRAMES)
    tracker = Launches()
    tracker.launches = every.launches - encoder.launches
    tracker.waits = every.waits - encoder.waits
    return Reference({ENCODER: encoder, TRACKER: tracker}, passes)


def watch_passes(model: Any) -> dict[str, Counter[int]]:
    """Have the passes through the parts of a model counted, by their batch, from now on."""
    parts = {
        "detector": (model.detector_model.detr_encoder, 0),
        "memory attention": (model.tracker_model.memory_attention, 1),
        "memory encoder": (model.tracker_model.memory_encoder, 0),
        "mask decoder": (model.tracker_model.mask_decoder, 0),
    }
    passes: dict[str, Counter[int]] = {name: Counter() for name in parts}
    for name, (part, dimension) in parts.items():

        def note(
            _: Any, args: Any, kwargs: Any, name: str = name, dimension: int = dimension
        ) -> None:
            first = tree_leaves((args, kwargs))[0]
            passes[name][first.shape[dimension]] += 1

        part.register_forward_pre_hook(note, with_kwargs=True)
    return passes


def full_size() -> tuple[fake_gpu.FakeGpu, Any]:
    """A GPU that is not there, and the full-size model on it."""
    gpu = fake_gpu.FakeGpu(found=OBJECTS // PROMPTS)
    return gpu, fake_gpu.model_on(gpu, Sam3VideoConfig(hotstart_delay=0))


def cost_ours(gpu: fake_gpu.FakeGpu, model: Any) -> dict[str, Costs]:
    """A frame of a session at full size."""
    encoder, tracker = Costs(), Costs()
    with gpu.on(), fake_gpu.steady_objects():
        session = fake_gpu.session_on(model, SIDE, VIDEO, Query(NAMES[:PROMPTS]))
        *before, last = videos.make(FRAMES + 1)
        session.step(before)
        session._catch_up()
        session._settled(last=True)
        pixels = session._pixels(last)[None]
        (seen,) = encoder.within(look_ahead, session._model, session._prompts, pixels)
        session._tracked.append(tracker.within(session._tracker.track, FRAMES, seen))
        tracker.within(session._settled, True)
        session.close()
    return {ENCODER: encoder, TRACKER: tracker}


def cost_stock(
    gpu: fake_gpu.FakeGpu, model: Any, passes: dict[str, Counter[int]]
) -> dict[str, Costs]:
    """The passes of the reference at full size; what it does between them is not counted."""
    encoder, tracker = Costs(), Costs()
    with gpu.on():
        session = fake_gpu.session_on(model, SIDE, VIDEO, Query(NAMES[:1]))
        pixels = torch.empty(1, 3, SIDE, SIDE, dtype=torch.bfloat16, device=fake_gpu.DEVICE)
        vision = encoder.within(lambda: model.detector_model.get_vision_features(pixels))
        encoder.within(model.get_vision_features_for_tracker, vision)
        (seen,) = look_ahead(model, None, pixels)
        work = _passes(model, vision, seen, session._prompts)
        for name, total in {
            "detector": encoder,
            "memory attention": tracker,
            "memory encoder": tracker,
            "mask decoder": tracker,
        }.items():
            for batch, times in passes[name].items():
                once = Costs()
                once.within(work[name], batch)
                total.add(once, times)
        session.close()
    return {ENCODER: encoder, TRACKER: tracker}


def _passes(model: Any, vision: Any, seen: Any, prompts: Any) -> dict[str, Callable[[int], Any]]:
    """A pass of so many prompts or objects through each part of a model."""
    tracker = model.tracker_model
    features = seen.features[-1]
    tokens, pointers = len(features), 4 * FRAMES

    def attend(batch: int) -> Any:
        size = tracker.num_maskmem * tokens + pointers
        memory = features.new_empty(size, batch, tracker.mem_dim)
        return tracker.memory_attention(
            current_vision_features=features.expand(-1, batch, -1),
            current_vision_position_embeddings=seen.positions.expand(-1, batch, -1),
            memory=memory,
            memory_posision_embeddings=memory,
            num_object_pointer_tokens=pointers,
        )

    def remember(batch: int) -> Any:
        masks, presence = features.new_empty(batch, 1, 288, 288), features.new_empty(batch)
        return propagate.remember(tracker, seen, masks, presence, batch)

    def decode(batch: int) -> Any:
        size = (batch, features.shape[-1], *tracker.backbone_feature_sizes[-1])
        return propagate._decode(tracker, seen, features.new_empty(size))

    def detect(batch: int) -> Any:
        assert batch == 1, "the reference takes prompt by prompt"
        return model.detector_model(
            vision_embeds=vision,
            text_embeds=BaseModelOutputWithPooling(pooler_output=prompts.embeddings),
            attention_mask=prompts.attention,
        )

    return {
        "detector": detect,
        "memory attention": attend,
        "memory encoder": remember,
        "mask decoder": decode,
    }


def write_deep(folder: Path) -> Path:
    """The tiny checkpoint with as many layers as the real model has."""
    full: Any = Sam3VideoConfig()
    plain = tiny._config

    def deep(*args: Any) -> Sam3VideoConfig:
        config: Any = plain(*args)
        backbone = config.detector_config.vision_config.backbone_config
        theirs = full.detector_config.vision_config.backbone_config
        backbone.num_hidden_layers = theirs.num_hidden_layers
        backbone.global_attn_indexes = theirs.global_attn_indexes
        for part in ("geometry_encoder", "detr_encoder", "detr_decoder"):
            layers = getattr(full.detector_config, f"{part}_config").num_layers
            getattr(config.detector_config, f"{part}_config").num_layers = layers
        for name in ("memory_attention_num_layers", "memory_fuser_num_layers"):
            setattr(config.tracker_config, name, getattr(full.tracker_config, name))
        decoder = full.tracker_config.mask_decoder_config
        config.tracker_config.mask_decoder_config.num_hidden_layers = decoder.num_hidden_layers
        changed: Sam3VideoConfig = config
        return changed

    patched: Any = tiny
    patched._config = deep
    try:
        return tiny.save_checkpoint(folder, hotstart_delay=0)
    finally:
        patched._config = plain


def main() -> None:
    torch.set_num_threads(1)
    disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="shoal-benchmark-") as folder:
        checkpoint = write_deep(Path(folder))
        reference, ours = count_stock(checkpoint), count_ours(checkpoint)
    gpu, model = full_size()
    costs = cost_stock(gpu, model, reference.passes), cost_ours(gpu, model)
    rows = [
        (
            part,
            *(f"{each[part].launches.total()}" for each in (reference.counts, ours)),
            *(f"{each[part].waits.total()}" for each in (reference.counts, ours)),
            *(f"{each[part].flops / 1e12:.2f}" for each in costs),
            *(f"{each[part].bytes / 1e9:.0f}" for each in costs),
        )
        for part in (ENCODER, TRACKER)
    ]
    print(f"Estimates for one frame, {PROMPTS} prompts, {OBJECTS} objects, nothing compiled;")
    print("the first figure is the reference's, the second ours:")
    header = ("", "kernels", "ours", "waits", "ours", "TFLOP", "ours", "GB", "ours")
    print_table(header, rows)
    print("Passes of the reference through each part, as {prompts or objects of a pass: passes}:")
    for part, passes in reference.passes.items():
        print(f"  {part}: {dict(passes)}")


if __name__ == "__main__":
    main()
