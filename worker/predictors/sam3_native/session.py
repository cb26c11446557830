"""One video through the package: window by window, one of its sessions for each text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from shoal.errors import CheckpointUnusable, GpuOutOfMemory
from worker.predictors.base import FrameResult, ObjectResult, Query
from worker.predictors.sam3_native.client import Native, Sighting, started
from worker.predictors.sam3_native.join import match
from worker.predictors.sam3_native.pointing import Pointed
from worker.predictors.sam3_native.state import Border, dump, parse, result
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
    """

    def __init__(
        self, native: Native, video: VideoInfo, query: Query, *, window: int, overlap: int
    ) -> None:
        self._native = native
        self._texts = tuple(dict.fromkeys(query.prompts))
        self._pointed = Pointed(query.objects, video)
        self._overlap = overlap
        self._pictures: list[Image.Image] = []
        self._indices: list[int] = []
        self._border = Border(window, next_id=len(self._pointed.labels) + 1, held=[])

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
        return results

    def finish(self) -> list[FrameResult]:
        """The results still owed after the last frame."""
        results = []
        while len(self._pictures) > len(self._border.held):
            results += self._advance()
        results += self._border.held
        self.close()
        return results

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
            found, next_id = self._track(count)
        except torch.OutOfMemoryError:
            self._halve()
            return []
        said = [FrameResult(i, o) for i, o in zip(self._indices, found, strict=False)]
        said[: len(held) // 2] = held[: len(held) // 2]
        done = count - self._overlap if count == self._border.window else count
        del self._pictures[:done]
        del self._indices[:done]
        self._border = Border(self._border.window, next_id, held=said[done:])
        return said[:done]
