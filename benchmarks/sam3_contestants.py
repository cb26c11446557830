"""The contestants of ``benchmarks.sam3_gpu``, each in a process of its own.

``python -m benchmarks.sam3_contestants NAME CHECKPOINT CLIP CASES [--profile]`` runs the cases one
after the other and prints a line of JSON for each. Both contestants load the same checkpoint and
pay for its detector. Its answer is then replaced by as many fixed bars as there shall be objects:
the weights are random, and would find none.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tests.sam3 import torchvision_on_cpu  # noqa: F401 # isort: skip - the first to import torchvision

import numpy as np
import torch
from torch import Tensor
from transformers import Sam3VideoModel, Sam3VideoProcessor

from benchmarks.sam3_cases import PROFILED, Case, Measured
from worker.engines.base import Query
from worker.engines.sam3 import session
from worker.engines.sam3.predictor import Sam3Predictor
from worker.video.frame import Frame, VideoInfo
from worker.video.source import open_source

sessions: Any = session  # one of its functions is replaced

PICTURES = 100  # of the clip; they are repeated
SAMPLE_MS = 100  # between two looks at the device
PROMPTS = ("a", "b", "c", "d")


class Watch:
    """Takes time, memory and load of the device as frames are done."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._done = 0
        self._start = (0, 0.0)  # frames, seconds
        self._loads: list[tuple[float, int]] = []  # seconds, percent
        self._peak_mb: dict[int, float] = {}

    def done(self, frames: int) -> None:
        """So many more frames are done: their masks are in host memory."""
        before, self._done = self._done, self._done + frames
        if before < self._case.discarded <= self._done:
            self._start = (self._done, time.perf_counter())
        for mark in self._case.marks:
            if before < mark <= self._done and torch.cuda.is_available():
                self._peak_mb[mark] = round(torch.cuda.max_memory_allocated() / 1e6, 1)

    def read(self) -> Measured:
        frames, start = self._start
        seconds = time.perf_counter() - start
        loads = [percent for at, percent in self._loads if at >= start]
        return Measured(
            fps=round((self._done - frames) / seconds, 3),
            busy=round(sum(loads) / len(loads) / 100, 3) if loads else None,
            peak_mb=self._peak_mb,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask nvidia-smi for the load of the first device, all the time."""
        if not torch.cuda.is_available():
            yield
            return
        torch.cuda.reset_peak_memory_stats()
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        command += ["--id=0", f"--loop-ms={SAMPLE_MS}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sampler:
            reader = threading.Thread(target=self._take_loads, args=(sampler.stdout,))
            reader.start()
            try:
                yield
            finally:
                sampler.terminate()
                reader.join()

    def _take_loads(self, lines: Iterator[str]) -> None:
        for line in lines:
            self._loads.append((time.perf_counter(), int(line)))


class Ours:
    """The engine, fed frame by frame; its results are masks cut to their windows."""

    def __init__(self, checkpoint: Path) -> None:
        self._predictor = Sam3Predictor(str(checkpoint))
        self._look_ahead = sessions.look_ahead

    @property
    def model(self) -> Any:
        return self._predictor._loaded.model

    def force(self, bars: Tensor) -> None:
        """Let the detector of every frame answer with these masks, (N, h, w) logits."""

        def look_ahead(*args: Any) -> list[Any]:
            scores = torch.full((len(bars),), 0.9, device=bars.device)
            forced = {"masks": bars, "scores": scores, "prompts": [0] * len(bars)}
            return [replace(seen, **forced) for seen in self._look_ahead(*args)]

        sessions.look_ahead = look_ahead

    def run(self, case: Case, info: VideoInfo, frames: list[Frame], watch: Watch) -> None:
        session = self._predictor.open(info, Query(PROMPTS[: case.prompts]))
        try:
            for number in range(case.frames):
                frame = replace(frames[number % len(frames)], index=number)
                watch.done(len(session.step([frame])))
            watch.done(len(session.finish()))
        finally:
            session.close()


class Reference:
    """What transformers' documentation shows: all frames loaded, then its own propagation.

    The masks of each frame are brought to the host as float32. Loading takes no time here.
    """

    def __init__(self, checkpoint: Path) -> None:
        cuda = torch.cuda.is_available()
        self._dtype = torch.bfloat16 if cuda else torch.float32
        self._device = "cuda:0" if cuda else "cpu"
        loaded: Any = Sam3VideoModel.from_pretrained(checkpoint, dtype=self._dtype)
        self.model: Any = loaded.to(self._device).eval()
        self._processor: Any = Sam3VideoProcessor.from_pretrained(checkpoint)
        self._detect = self.model.run_detection

    def force(self, bars: Tensor) -> None:
        """See ``Ours.force``."""

        def run_detection(*args: Any, **kwargs: Any) -> dict[int, dict[str, Tensor]]:
            answers = self._detect(*args, **kwargs)
            forced = {p: {k: v[:0] for k, v in each.items()} for p, each in answers.items()}
            forced[min(answers)] = {
                "bbox": torch.zeros(len(bars), 4, device=bars.device),
                "mask": bars,
                "scores": torch.full((len(bars),), 0.9, device=bars.device),
            }
            return forced

        self.model.run_detection = run_detection

    @torch.inference_mode()
    def run(self, case: Case, info: VideoInfo, frames: list[Frame], watch: Watch) -> None:
        pictures = [frame.picture.to_ndarray(format="rgb24") for frame in frames]
        video = np.stack([pictures[n % len(pictures)] for n in range(case.frames)])
        session = self._processor.init_video_session(
            video=video,
            inference_device=self._device,
            processing_device="cpu",
            video_storage_device=self._device,
            dtype=self._dtype,
        )
        self._processor.add_text_prompt(session, list(PROMPTS[: case.prompts]))
        for output in self.model.propagate_in_video_iterator(session):
            shown = self._processor.postprocess_outputs(session, output)
            shown["masks"].float().cpu()
            watch.done(1)


CONTESTANTS: dict[str, Callable[[Path], Ours | Reference]] = {"ours": Ours, "reference": Reference}


def profile(work: Callable[[], None]) -> None:
    """Print the operations that take the time, attention kernels among them, and warn of waits."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_sync_debug_mode("warn")  # where the host waits for the device
    with torch.profiler.profile() as profiler:
        work()
    if cuda:
        torch.cuda.set_sync_debug_mode("default")
    key = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=key, row_limit=40), file=sys.stderr, flush=True)


def bars(count: int, model: Any) -> Tensor:
    """Masks that lie one below the other, (count, h, w) logits."""
    side = model.low_res_mask_size
    masks = torch.full((count, side, side), -10.0, device=model.device, dtype=model.dtype)
    for n in range(count):
        top = n * side // count
        masks[n, top : top + max(1, side // count - 1), side // 4 : side // 2] = 10.0
    return masks


def main() -> None:
    name, checkpoint, clip = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    cases = [Case(**case) for case in json.loads(sys.argv[4])]
    with open_source(clip, sample_fps=0) as source:
        info, frames = source.info, list(islice(source.frames(), PICTURES))
    contestant = CONTESTANTS[name](checkpoint)
    for case in cases:
        contestant.model.max_num_objects = case.objects  # no others are added later
        contestant.force(bars(case.objects, contestant.model))
        watch = Watch(case)
        try:
            with watch.running():
                contestant.run(case, info, frames, watch)
            measured = watch.read()
        except torch.OutOfMemoryError:
            measured = Measured()
        print(json.dumps(asdict(measured)), flush=True)
        if measured.fps and sys.argv[5:] == ["--profile"]:
            few = replace(case, frames=min(case.frames, PROFILED), marks=())
            profile(lambda: contestant.run(few, info, frames, Watch(few)))  # noqa: B023
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
