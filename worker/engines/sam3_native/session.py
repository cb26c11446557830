"""One video through the package: window by window, each a session of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from PIL import Image

from shoal.errors import CheckpointUnusable, GpuGroupOutOfMemory, GpuOutOfMemory, Stopped
from worker.engines.base import FrameResult, ObjectResult, Query
from worker.engines.gpu import is_out_of_memory, release
from worker.engines.sam3_native.client import (
    Native,
    NativeDetection,
    NativeSession,
    limited,
    started,
)
from worker.engines.sam3_native.pointing import NativeHint, NativePointed
from worker.engines.sam3_native.state import Border, dump, parse
from worker.matching import match
from worker.video.frame import Frame, VideoInfo

# What a window says: of each of its frames the objects there.
Found = list[list[ObjectResult]]


class Sam3NativeSession:
    """One video.

    Frames gather until there is a window of them, which passes the package as a video of its own.
    Its last frames are the first of the next window: there objects are recognised, and in the
    middle of them the results change over from one window to the other. By then the package has
    seen enough frames after a new object to have taken it back if it was none (hotstart, 15).

    What was said of frames that await the next window is held back. So a session can always be
    continued from the start of a window, with the output of an uninterrupted one, if the frames
    from there on are stepped again.

    Attributes:
        on_beat: see ``LongStep``.
    """

    def __init__(
        self,
        native: Native,
        video: VideoInfo,
        query: Query,
        *,
        window: int,
        overlap: int,
        gpus: int = 1,
    ) -> None:
        self.on_beat: Callable[[], None] = lambda: None
        self._native = native
        self._query = query
        self._texts = tuple(dict.fromkeys(query.prompts))
        self._pointed = NativePointed(query, video)
        self._overlap = overlap
        self._gpus = gpus
        self._pictures: list[Image.Image] = []
        self._indices: list[int] = []
        self._border = Border(window, next_id=1, held=[])

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """Take the next frames in, and track a window when there is one; see ``Session.step``.

        Raises:
            GpuOutOfMemory: not even a short window fits.
        """
        results = []
        for frame in frames:
            self._indices.append(frame.index)
            self._pictures.append(Image.fromarray(frame.picture.to_ndarray(format="rgb24")))
            while len(self._pictures) >= self._border.window:
                results += self._advance()
        return [self._as_asked(each) for each in results]

    def finish(self) -> list[FrameResult]:
        """The results still owed after the last frame."""
        results = []
        while len(self._pictures) > len(self._border.held):
            results += self._advance()
        results += self._border.held
        self.close()
        return [self._as_asked(each) for each in results]

    def state(self) -> bytes:
        """The start of the current window: what was stepped since is to be stepped again."""
        return dump(self._border)

    def restore(self, state: bytes) -> None:
        """Continue another session, before the first step."""
        self._border = parse(state)

    def close(self) -> None:
        """Drop everything; the package's own sessions are closed at the end of each window."""
        self._pictures.clear()
        self._indices.clear()
        self._border = Border(self._border.window, self._border.next_id, held=[])

    def _advance(self) -> list[FrameResult]:
        """Track a window, and keep its end for the next; a shorter one where memory is lacking."""
        count = min(self._border.window, len(self._pictures))
        held = self._border.held
        self._check_continues(held)
        try:
            tracked = self._track(count)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            tracked = None
        if tracked is None:  # outside of the handler: the error holds what the window took
            self._halve()
            return []
        found, next_id = tracked
        said = [
            FrameResult(index, sorted(objects, key=lambda each: each.object_id))
            for index, objects in zip(self._indices, found, strict=False)
        ]
        said[: len(held) // 2] = held[: len(held) // 2]
        done = count - self._overlap if count == self._border.window else count
        del self._pictures[:done]
        del self._indices[:done]
        self._border = Border(self._border.window, next_id, held=said[done:])
        return said[:done]

    def _track(self, count: int) -> tuple[Found, int]:
        """What the package says of the next ``count`` frames, with the ids of the window before.

        Returns:
            And the first id that is free afterwards.
        """
        held, next_id = self._border.held, self._border.next_id
        hints = self._pointed.hints(self._indices[:count], held)
        found, of_text = self._ask(count, hints)
        for text, seen in of_text.items():
            again = [
                [_as_result(each, each.id, text, None) for each in sightings]
                for sightings in seen[: len(held)]
            ]
            ids = match([self._of_text(text, known) for known in held], again)
            for objects, sightings in zip(found, seen, strict=True):
                for each in sightings:
                    if each.id not in ids:
                        ids[each.id], next_id = next_id, next_id + 1
                    objects.append(_as_result(each, ids[each.id], text, each.score))
        return found, next_id

    def _ask(
        self, count: int, hints: dict[int, list[NativeHint]]
    ) -> tuple[Found, dict[str, list[list[NativeDetection]]]]:
        """What was pointed at, and what each text finds, in a window."""
        if not (hints or self._texts):
            return [[] for _ in range(count)], {}
        limits = self._query.max_objects, self._query.score_threshold
        with started(self._native, self._pictures[:count], self._beat) as session:
            found = self._follow(session, count, hints)
            with limited(self._native, *limits):
                return found, {text: session.find(text) for text in self._texts}

    def _beat(self) -> None:
        """
        Raises:
            Stopped: the job must stop. With several GPUs the window is tracked to its end all the
                same: the others would wait for the one that stopped.
        """
        try:
            self.on_beat()
        except Stopped:
            if self._gpus == 1:
                raise

    def _follow(
        self, session: NativeSession, count: int, hints: dict[int, list[NativeHint]]
    ) -> Found:
        """Track the objects that were pointed at, each from the first frame where it was.

        Where others are pointed at later, or the same again, all that is known by then is tracked
        on from there: a correction starts from the mask that it corrects.
        """
        found: Found = [[] for _ in range(count)]
        if hints:
            session.expect_points()
        for frame, pointed_at in hints.items():
            for hint in pointed_at:
                session.point(frame, hint.object_id, hint.points, hint.labels)
            for n, sightings in enumerate(session.propagate(frame)[frame:], frame):
                found[n] = [
                    _as_result(each, each.id, self._pointed.labels[each.id], None)
                    for each in sightings
                ]
        return found

    def _as_asked(self, known: FrameResult) -> FrameResult:
        """Without what shall be left out, and no more than asked for: pointed at, then oldest."""
        limit = self._query.max_objects or len(known.objects)
        kept = sorted(known.objects, key=lambda o: o.object_id not in self._pointed.labels)[:limit]
        ids = {o.object_id for o in kept if not self._query.leaves_out(o.object_id, known.index)}
        return FrameResult(known.index, [o for o in known.objects if o.object_id in ids])

    def _of_text(self, text: str, known: FrameResult) -> list[ObjectResult]:
        """Objects that were found by a text, and not pointed at under the same name."""
        return [
            each
            for each in known.objects
            if each.prompt == text and each.object_id not in self._pointed.labels
        ]

    def _check_continues(self, held: list[FrameResult]) -> None:
        known = [each.index for each in held]
        if self._indices[: len(known)] != known:
            raise CheckpointUnusable(f"the state wants the frames {known} again")

    def _halve(self) -> None:
        """Try shorter windows from now on.

        Raises:
            GpuOutOfMemory: they cannot be shorter.
            GpuGroupOutOfMemory: there are several GPUs. The others wait for the one that failed,
                so that all of their processes have to start anew, with the model process.
        """
        window = self._border.window // 2
        if self._gpus > 1:
            raise GpuGroupOutOfMemory(
                f"one of {self._gpus} GPUs has not enough memory for a window of "
                f"{self._border.window} frames",
                hint=f"Set SHOAL_SAM3_WINDOW to {window}, or track fewer objects.",
            )
        if window < 2 * self._overlap:
            raise GpuOutOfMemory(
                f"not enough GPU memory for a window of {self._border.window} frames",
                hint="Track fewer objects, or use a GPU with more memory that is not shared.",
            )
        release()
        self._border = replace(self._border, window=window)


def _as_result(
    seen: NativeDetection, object_id: int, prompt: str, detection_score: float | None
) -> ObjectResult:
    """With the box of the mask, and the package's one score, which is no frame's in particular."""
    mask = seen.mask
    height, width = mask.bits.shape
    box = (float(mask.x), float(mask.y), float(mask.x + width), float(mask.y + height))
    return ObjectResult(object_id, prompt, seen.score, box, mask, detection_score)
