"""One video through SAM3: frames in batches to the encoder, one by one to the tracker."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from shoal.errors import CheckpointUnusable, GpuOutOfMemory
from worker.predictors.base import FrameResult, Query
from worker.predictors.sam3 import state as states
from worker.predictors.sam3.limits import limited
from worker.predictors.sam3.lookahead import Prompts, look_ahead
from worker.predictors.sam3.memory import Memory
from worker.predictors.sam3.output import to_result
from worker.predictors.sam3.pointing import Pointed
from worker.predictors.sam3.tracker import Tracked, Tracker
from worker.predictors.sam3.upload import Uploads
from worker.predictors.sam3.weights import Loaded
from worker.video.frame import Frame, VideoInfo

# A frame on the device: ``Frame.index`` and (3, S, S) pixels.
Waiting = tuple[int, Tensor]


class Sam3Session:
    """One video.

    Frames gather until there is a batch of ``lookahead``. It is encoded and tracked in a thread
    of its own, while the caller converts the frames of the next one and draws the results of the
    last. The result of a frame is held back for ``hotstart_delay`` frames (15), within which
    hotstart may take back an object that turned out to be none.
    """

    def __init__(
        self,
        loaded: Loaded,
        video: VideoInfo,
        query: Query,
        prompts: Prompts | None,
        lookahead: int,
    ) -> None:
        self._model = limited(loaded.model, query)
        self._processor = loaded.processor
        self._weights = loaded.identity
        self._size = (video.height, video.width)
        self._query = query
        self._prompts = prompts
        self._pointed = Pointed(query, self._size)
        self._lookahead = lookahead
        self._tracker = self._fresh_tracker(self._empty_memory())
        self._tracked: deque[Tracked] = deque()  # their results are owed
        self._waiting: list[Waiting] = []
        self._running: Future[list[Tracked]] | None = None
        self._uploads = Uploads(self._model.device)
        self._thread = ThreadPoolExecutor(1, "sam3")

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """Track through the next frames; see ``Session.step``.

        Raises:
            GpuOutOfMemory: not even one frame at a time fits.
        """
        results = []
        for frame in frames:
            self._waiting.append((frame.index, self._pixels(frame)))
            if len(self._waiting) >= self._lookahead:
                self._join()
                batch, self._waiting = self._waiting, []
                self._running = self._thread.submit(self._track, batch)
                results += self._settled()
        return results

    def finish(self) -> list[FrameResult]:
        """The results still owed after the last frame."""
        self._catch_up()
        return self._settled(last=True)

    def state(self) -> bytes:
        """Some megabytes for each object, whatever the length of the video; see ``state``."""
        self._catch_up()
        facts = {
            **self._identity(),
            "frame": self._tracker.frame,
            "lookahead": self._lookahead,
        }
        return states.dump(facts, self._tracker.memory, list(self._tracked))

    def restore(self, state: bytes) -> None:
        """Continue another session, before the first step.

        Raises:
            CheckpointUnusable: it is damaged, or belongs to another version, other weights or
                other prompts.
        """
        text, parts = states.parse(state)
        for fact, ours in self._identity().items():
            if text[fact] != ours:
                raise CheckpointUnusable(f"SAM3's state has {fact} {text[fact]!r}, not {ours!r}")
        memory = self._empty_memory()
        states.fill_memory(memory, text, parts)
        self._tracker = self._fresh_tracker(memory, text["frame"])
        self._tracked += states.owed_frames(text, parts, self._model.device)
        self._lookahead = text["lookahead"]

    def close(self) -> None:
        """Drop everything; the model stays with the predictor."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._running = None
        self._waiting.clear()
        self._tracked.clear()
        self._tracker = self._fresh_tracker(self._empty_memory())

    def _catch_up(self) -> None:
        """Track all frames that were stepped."""
        self._join()
        batch, self._waiting = self._waiting, []
        self._tracked += self._track(batch)

    def _join(self) -> None:
        if self._running:
            running, self._running = self._running, None
            self._tracked += running.result()

    def _pixels(self, frame: Frame) -> Tensor:
        """(3, S, S) as the processor makes them, on the device in the model's dtype."""
        rgb = torch.from_numpy(frame.picture.to_ndarray(format="rgb24"))
        with self._uploads.aside():
            made = self._processor(
                images=self._uploads.send(rgb).permute(2, 0, 1),
                input_data_format="channels_first",
                return_tensors="pt",
            )
            pixels: Tensor = made.pixel_values[0].to(self._model.dtype)
        return pixels

    def _track(self, batch: list[Waiting]) -> list[Tracked]:
        """Track frames, halving the lookahead where the device's memory does not suffice."""
        left, tracked = deque(batch), list[Tracked]()
        while left:
            if not self._try(left, tracked):
                self._halve()
        return tracked

    def _try(self, left: deque[Waiting], tracked: list[Tracked]) -> bool:
        """Take the next frames from ``left`` to ``tracked``; False when memory ran out.

        The encoder always gets ``lookahead`` frames, the last repeated where there are fewer: a
        frame's numbers may depend on the size of its batch, and must not on where a video was
        interrupted.
        """
        ahead = [left[min(n, len(left) - 1)][1] for n in range(self._lookahead)]
        try:
            pixels = self._uploads.arrived(ahead)
            for seen in look_ahead(self._model, self._prompts, pixels)[: len(left)]:
                tracked.append(self._tracker.track(left[0][0], seen))
                left.popleft()
        except torch.OutOfMemoryError:
            return False
        return True

    def _halve(self) -> None:
        if self._lookahead == 1:
            prompts, objects = len(self._query.prompts), len(self._tracker.memory.obj_ids)
            raise GpuOutOfMemory(
                f"{self._model.device} has too little memory to track {objects} objects "
                f"of {prompts} prompts"
            )
        self._lookahead //= 2
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _settled(self, last: bool = False) -> list[FrameResult]:
        """Draw the frames on which hotstart can remove no object any more."""
        held_back = 0 if last else max(self._model.hotstart_delay - 1, 0)
        results = []
        while len(self._tracked) > held_back:
            removed = set().union(*(each.removed for each in self._tracked))
            frame = self._tracked.popleft()
            hidden = removed | self._pointed.removed(frame.index)
            results.append(to_result(frame, hidden, self._query.labels, self._size))
        return results

    def _fresh_tracker(self, memory: Memory, frame: int = 0) -> Tracker:
        first_score = self._query.score_threshold or 0.0
        return Tracker(self._model, memory, self._pointed, first_score, frame)

    def _empty_memory(self) -> Memory:
        device = self._model.device
        return Memory(
            inference_device=device, inference_state_device=device, dtype=self._model.dtype
        )

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a state to be continued."""
        return {
            "weights": self._weights,
            "dtype": str(self._model.dtype),
            "prompts": list(self._query.prompts),
            "query": hashlib.sha256(repr(self._query).encode()).hexdigest(),
            "size": list(self._size),
        }
