"""What every writer of results has in common."""

from __future__ import annotations

from typing import Protocol

from worker.predictors.base import FrameResult
from worker.video.frame import Frame


class Sink(Protocol):
    """Writes one result file. Used by one thread at a time.

    Attributes:
        name: what its share of the time is listed under.
    """

    name: str

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Add one frame. The picture is shared with the other sinks: draw on a copy.

        Raises:
            OSError: the disk is full or the file cannot be written.
        """
        ...

    def close(self) -> None:
        """Finish the file: after this it is whole."""
        ...

    def abort(self) -> None:
        """Give up: release what is held and remove the unfinished file. Never raises."""
        ...
