"""A SAM3 checkpoint with random weights: ``python -m benchmarks.sam3_checkpoint PATH [--tiny]``.

At full size it is what ``facebook/sam3`` is but for its numbers and its words: 860 million
parameters in bfloat16, 1.7 GB. No object is taken back by hotstart, and the tracker always shows
what it tracks, so that the number of objects stays as it is forced to be.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.sam3 import tiny  # isort: skip - the first to import torchvision

import torch
from transformers import (
    Sam2VideoVideoProcessor,
    Sam3ImageProcessor,
    Sam3VideoConfig,
    Sam3VideoModel,
    Sam3VideoProcessor,
)

SIDE = 1008  # pixels: of the square that frames are scaled to


def write_full(folder: Path) -> None:
    """As ``save_pretrained`` does."""
    torch.manual_seed(0)
    config = Sam3VideoConfig(hotstart_delay=0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        built: Any = Sam3VideoModel._from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        built.tracker_model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(10.0)
    built.save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    processor: Any = Sam3VideoProcessor
    processor(
        Sam3ImageProcessor(),
        Sam2VideoVideoProcessor(size=square, image_mean=[0.5] * 3, image_std=[0.5] * 3),
        tiny.tokenizer(built.config.detector_config.text_config.vocab_size),
    ).save_pretrained(folder)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    if "--tiny" in sys.argv[2:]:
        tiny.save_checkpoint(path, hotstart_delay=0)
    else:
        write_full(path)
