"""Where the results of a run go: part by part, or as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from worker.outputs.base import Sink
from worker.pipeline.run_state import RunState


class Destination(Protocol):
    """Decides how the results of a run are cut into parts."""

    def open_part(self, backward: bool) -> Sequence[Sink]:
        """The sinks of the next part, which has at least one frame.

        Args:
            backward: whether they get the last frame first.
        """
        ...

    def is_part_due(self) -> bool:
        """Whether the current part shall end here. Asked between two frames."""
        ...

    def close_part(self, checkpoint: RunState) -> None:
        """Take in a part whose sinks are closed; it may have had no frames, and so no sinks.

        The last part of a pass, after which nothing remains to be done, is not announced here.
        """
        ...


class WholeDestination:
    """One part: these sinks get everything."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def open_part(self, backward: bool) -> Sequence[Sink]:
        return self._sinks

    def is_part_due(self) -> bool:
        return False

    def close_part(self, checkpoint: RunState) -> None:
        """Never called: no part is ever due."""
