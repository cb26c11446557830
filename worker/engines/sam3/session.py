"""One video through SAM3: frames in batches to the encoder, one by one to the tracker."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from shoal.errors import CheckpointUnusable, GpuOutOfMemory
from shoal.model.sam3_options import Sam3Options
from worker.engines.base import FrameResult, Query
from worker.engines.gpu import is_out_of_memory, out_of_memory_named, release
from worker.engines.sam3 import state as states
from worker.engines.sam3.examples import examples_of
from worker.engines.sam3.limits import limited
from worker.engines.sam3.lookahead import Lookahead, Prompts, look_ahead, read_examples
from worker.engines.sam3.memory import Memory
from worker.engines.sam3.output import to_result
from worker.engines.sam3.pointing import PointedObject
from worker.engines.sam3.streams import Encoded, Streams, to_pixels
from worker.engines.sam3.tracker import MaskTracker, Tracked
from worker.engines.sam3.weights import LoadedModel
from worker.video.frame import Frame, VideoInfo

# A frame on the device: ``Frame.index``, (3, S, S) pixels, and whether to detect on it.
Waiting = tuple[int, Tensor, bool]
Seen = tuple[list[Lookahead], Encoded]


class Fits(NamedTuple):
    """What fits into the device's memory at a time, as far as is known before.

    Attributes:
        frames: that share a pass of the encoder.
        objects: that share a pass of the tracker.
    """

    frames: int
    objects: int


class Sam3Session:
    """One video.

    Frames gather until there is a batch of ``lookahead``. It is encoded in one thread, and tracked
    in another as soon as the batch before is; meanwhile the caller converts the frames of the next
    one and draws the results of the last. The result of a frame is held back for
    ``hotstart_delay`` frames (15), within which hotstart may take back an object that turned out
    to be none.

    Where the device's memory does not suffice, fewer objects share a pass of the tracker, then
    fewer frames one of the encoder.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        video: VideoInfo,
        query: Query,
        prompts: Prompts | None,
        fits: Fits,
        streams: Streams,
    ) -> None:
        self._model = limited(loaded.model, query)
        self._processor = loaded.processor
        self._weights = loaded.identity
        self._size = (video.height, video.width)
        self._query = query
        self._prompts = prompts
        self._pointed = PointedObject(query, self._size)
        self._examples = examples_of(query, self._size)
        self._options = query.sam3 or Sam3Options()
        self._taken = 0  # frames so far
        self._last = -1  # ``Frame.index`` of the last of them
        self._lookahead = fits.frames
        self._chunk = fits.objects
        self._streams = streams
        self._tracker = self._fresh_tracker(self._empty_memory())
        self._tracked: deque[Tracked] = deque()  # their results are owed
        self._waiting: list[Waiting] = []
        self._running: Future[list[Tracked]] | None = None

    def read_exemplars(self, frames: Iterable[Frame]) -> None:
        """Have them part of their prompts from the first frame on; see ``ExemplarReader``.

        Raises:
            GpuOutOfMemory: not even one frame at a time fits.
        """
        for frame in frames:
            pixels = self._pixels(frame)
            while (read := self._streams.encode(self._read, frame.index, pixels).result()) is None:
                self._halve_lookahead()
            self._streams.take_over(read)

    def _read(self, index: int, pixels: Tensor) -> Encoded | None:
        """Read the exemplars of a frame; None when memory ran out.

        The frame is repeated: the encoder always gets ``lookahead`` frames, as in ``_look``.
        """
        assert self._prompts
        try:
            with self._streams.encoder():
                batch = self._streams.arrived([pixels] * self._lookahead)
                examples = self._examples[index]
                return self._streams.hand_out(
                    read_examples(self._model, self._prompts, batch, examples)
                )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """Track through the next frames; see ``Session.step``.

        Raises:
            GpuOutOfMemory: not even one frame and one object at a time fit.
        """
        results = []
        for frame in frames:
            searched = self._taken % self._options.detect_every == 0
            self._waiting.append((frame.index, self._pixels(frame), searched))
            self._taken, self._last = self._taken + 1, frame.index
            if len(self._waiting) >= self._lookahead:
                results += self._advance()
        return results

    def _advance(self) -> list[FrameResult]:
        """Have the frames that wait encoded and tracked, and draw what is settled by now."""
        batch, self._waiting = self._waiting, []
        seen = self._streams.encode(self._look, batch, self._lookahead)
        self._join()
        self._running = self._streams.track(self._track, batch, seen)
        return self._settled()

    def finish(self) -> list[FrameResult]:
        """The results still owed after the last frame."""
        self._catch_up()
        return self._settled(last=True)

    def state(self) -> bytes:
        """Some megabytes for each object, whatever the length of the video; see ``state``."""
        self._catch_up()
        facts = {
            **self._identity(self._last),
            "frame": self._tracker.frame,
            "index": self._last,
            "lookahead": self._lookahead,
            "chunk": self._tracker.chunk,
        }
        examples = self._prompts.examples if self._prompts else {}
        return states.dump(facts, self._tracker.memory, list(self._tracked), examples)

    def restore(self, state: bytes) -> None:
        """Continue another session, before the first step.

        What this one is told of objects on frames after those of the other may be different.

        Raises:
            CheckpointUnusable: it is damaged, or belongs to another version, other weights or
                other prompts.
        """
        text, parts = states.parse(state)
        for fact, ours in self._identity(text["index"]).items():
            if text[fact] != ours:
                raise CheckpointUnusable(f"SAM3's state has {fact} {text[fact]!r}, not {ours!r}")
        memory = self._empty_memory()
        states.fill_memory(memory, text, parts)
        self._tracker = self._fresh_tracker(memory, text["frame"])
        self._taken, self._last = text["frame"], text["index"]
        self._tracked += states.owed_frames(text, parts, self._model.device)
        if self._prompts:
            self._prompts.examples |= states.examples(text, parts, self._model.device)
        self._lookahead = text["lookahead"]
        self._tracker.chunk = text["chunk"]

    def close(self) -> None:
        """Drop everything; the model stays with the predictor."""
        if self._running:
            wait([self._running])
        self._running = None
        self._waiting.clear()
        self._tracked.clear()
        self._tracker = self._fresh_tracker(self._empty_memory())

    def _catch_up(self) -> None:
        """Track all frames that were stepped."""
        self._join()
        batch, self._waiting = self._waiting, []
        if batch:
            seen = self._streams.encode(self._look, batch, self._lookahead)
            self._tracked += self._streams.track(self._track, batch, seen).result()

    def _join(self) -> None:
        if self._running:
            running, self._running = self._running, None
            self._tracked += running.result()

    def _pixels(self, frame: Frame) -> Tensor:
        """(3, S, S) as the processor makes them, on the device in the model's dtype."""
        with out_of_memory_named(f"to take in a frame on {self._model.device}"):
            return to_pixels(frame.picture, self._processor, self._streams, self._model.dtype)

    def _look(self, batch: Sequence[Waiting], size: int) -> Seen | None:
        """What is known of frames before they are tracked; None when memory ran out.

        The encoder always gets ``size`` frames, the last repeated where there are fewer: a frame's
        numbers may depend on the size of its batch, and must not on where a video was interrupted.
        """
        ahead = [batch[min(n, len(batch) - 1)][1] for n in range(size)]
        try:
            with self._streams.encoder():
                pixels = self._streams.arrived(ahead)
                wanted = [n for n, (*_, searched) in enumerate(batch) if searched]
                seen = look_ahead(
                    self._model,
                    self._prompts,
                    pixels,
                    None if len(wanted) == len(batch) else wanted,
                )
                seen = seen[: len(batch)]
                tensors = [each for frame in seen for each in frame.tensors]
                return seen, self._streams.hand_out(tensors)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _track(self, batch: list[Waiting], encoded: Future[Seen | None]) -> list[Tracked]:
        """Track the frames of a batch, in smaller portions where memory does not suffice."""
        left, tracked, ready = deque(batch), list[Tracked](), deque[Lookahead]()
        answer = encoded.result()
        while left:
            if not ready and answer is None:
                answer = self._look(list(left)[: self._lookahead], self._lookahead)
            if not ready and answer is None:
                self._halve_lookahead()
                continue
            if answer is not None:
                ready.extend(answer[0])
                self._streams.take_over(answer[1])
                answer = None
            if self._try(left[0][0], ready[0], tracked):
                left.popleft()
                ready.popleft()
            elif not self._halve_chunk():
                ready.clear()
                self._halve_lookahead()
        return tracked

    def _try(self, index: int, seen: Lookahead, tracked: list[Tracked]) -> bool:
        """Track a frame; False when memory ran out."""
        try:
            tracked.append(self._tracker.track(index, seen))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _halve_chunk(self) -> bool:
        """Have fewer objects share a pass; False if each has its own already."""
        together = min(self._tracker.chunk, len(self._tracker.memory.obj_ids))
        self._tracker.chunk = max(1, together // 2)
        release()
        return together > 1

    def _halve_lookahead(self) -> None:
        if self._lookahead == 1:
            prompts, objects = len(self._query.prompts), len(self._tracker.memory.obj_ids)
            raise GpuOutOfMemory(
                f"not enough memory on {self._model.device} to track {objects} objects "
                f"of {prompts} prompts"
            )
        self._lookahead //= 2
        release()

    def _settled(self, last: bool = False) -> list[FrameResult]:
        """Draw the frames on which hotstart can remove no object any more."""
        held_back = 0 if last else max(self._model.hotstart_delay - 1, 0)
        results = []
        while len(self._tracked) > held_back:
            removed = set().union(*(each.removed for each in self._tracked))
            frame = self._tracked.popleft()
            hidden = removed | self._pointed.removed(frame.index)
            with out_of_memory_named(f"to draw a frame on {self._model.device}"):
                results.append(to_result(frame, hidden, self._query.labels, self._size))
        return results

    def _fresh_tracker(self, memory: Memory, frame: int = 0) -> MaskTracker:
        first_score = self._query.score_threshold or 0.0
        return MaskTracker(self._model, memory, self._pointed, first_score, frame, self._chunk)

    def _empty_memory(self) -> Memory:
        device = self._model.device
        memory = Memory(
            inference_device=device, inference_state_device=device, dtype=self._model.dtype
        )
        memory.stride = self._options.memory_temporal_stride_for_eval
        return memory

    def _identity(self, last: int) -> dict[str, Any]:
        """What must be the same for a state to be continued whose last frame has this index."""
        said = tuple(each for each in self._query.objects if each.frame <= last)
        query = replace(self._query, objects=said)
        return {
            "weights": self._weights,
            "dtype": str(self._model.dtype),
            "prompts": list(self._query.prompts),
            "query": hashlib.sha256(repr(query).encode()).hexdigest(),
            "size": list(self._size),
        }
