"""``python -m tests.sam3.fake_session words|shown``: a session on a GPU that is not there.

A process of its own: once torch knows of such a device, its compiler and its seeds ask for it.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from tests.sam3 import fake_gpu, tiny, videos  # isort: skip - the first to import torchvision

import torchvision

from tests.sam3.test_speed import MAX_WAITS
from worker.engines.base import Exemplar, Query, VisualPrompt

PER_PROMPT = 5
FULL = 8  # frames after which an object has all memories that it can have


def _roi_align(features: torch.Tensor, boxes: Any, size: Any, *_: Any) -> torch.Tensor:
    count = sum(len(each) for each in boxes)
    side = (size, size) if isinstance(size, int) else tuple(size)
    return features.new_empty(count, features.shape[1], *side)


def run(plain: bool) -> None:
    """What mixes devices or asks for a value of the device fails by itself.

    Args:
        plain: words alone; else also objects that are pointed at, and an exemplar.

    Raises:
        AssertionError: the host waits too often, or something grows.
    """
    # The stand-in for torchvision's kernel reads the boxes.
    torchvision.ops.roi_align = _roi_align
    gpu = fake_gpu.FakeGpu(found=PER_PROMPT)
    config: Any = tiny._config(600, tiny.SIZE, {"hotstart_delay": 0, "fill_hole_area": 2})
    config.tracker_config.max_object_pointers_in_encoder = 4
    config.detector_config.detr_decoder_config.num_queries = 2 * PER_PROMPT
    query = Query(("a", "b"))
    if not plain:
        query = Query(
            ("a",),
            objects=(
                VisualPrompt(label="a", frame=0, points=((9, 9, 1),)),
                VisualPrompt(label="a", frame=2, box=(9, 9, 40, 40)),
            ),
            exemplars=(Exemplar(prompt="d", frame=0, box=(9, 9, 40, 40)),),
        )
    frames, sizes, waits = videos.make(FULL + 4), [], []
    model = fake_gpu.model_on(gpu, config)
    with gpu.on(), fake_gpu.steady_objects():
        session = fake_gpu.session_on(model, tiny.SIZE, videos.INFO, query)
        if query.exemplars:
            session.read_exemplars(frames[:1])
        for frame in frames:
            gpu.waits.clear()
            session.step([frame])
            session._catch_up()
            if frame.index >= FULL:
                sizes.append(fake_gpu.bytes_on_device())
                waits.append(gpu.waits.total())
        known = len(session._tracker.memory.obj_ids)
        session.close()
    assert known == 2 * PER_PROMPT, "what was pointed at is the first of them"
    assert 3 <= max(waits) <= MAX_WAITS
    assert len(set(sizes)) == 1, sizes


if __name__ == "__main__":
    run(plain=sys.argv[1] == "words")
