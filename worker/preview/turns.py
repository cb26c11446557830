"""Who uses the predictor: the video that is being tracked or, between two frames, a preview."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock whose holder says when others may come in between.

    A plain lock would do for exclusion, but whoever releases it to take it again at once mostly
    gets it again: a preview would wait for as long as the video takes, or the video for as long
    as there are previews. Here a frame of one and a frame of the other take turns.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_taken = False
        self._video_waits = False
        self._previews_waiting = 0
        self._admitted = 0  # previews that may come before the video that waits: one or none

    @contextmanager
    def video(self) -> Iterator[None]:
        """The predictor is the video's."""
        with self._changed:
            self._take_for_video()
        try:
            yield
        finally:
            self._release()

    @contextmanager
    def preview(self) -> Iterator[None]:
        """The predictor is the preview's, as soon as the video lets it."""
        with self._changed:
            self._previews_waiting += 1
            self._changed.wait_for(self._may_preview)
            self._previews_waiting -= 1
            self._admitted = 0
            self._is_taken = True
        try:
            yield
        finally:
            self._release()

    def between_frames(self) -> None:
        """By who holds ``video``: let one preview come in that waits, and go on after it."""
        with self._changed:
            if self._previews_waiting:
                self._admitted = 1
                self._is_taken = False
                self._changed.notify_all()
                self._take_for_video()

    def _take_for_video(self) -> None:
        self._video_waits = True
        self._changed.wait_for(lambda: not self._is_taken and not self._admitted)
        self._video_waits = False
        self._is_taken = True

    def _may_preview(self) -> bool:
        return not self._is_taken and (not self._video_waits or self._admitted > 0)

    def _release(self) -> None:
        with self._changed:
            self._is_taken = False
            self._changed.notify_all()
