"""Where a run is between two frames: what another process needs to go on with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from worker.summary import Summary
from worker.video.position import Position


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run whose sinks have got all results up to a frame.

    Attributes:
        position: of that frame in the source.
        picture: fingerprint of that frame.
        stepped: index of the last frame that the session's state has seen. Those after
            ``position`` await their results: they are read again, but not stepped again.
        summary: of the run up to here.
        session: the predictor's ``Session.state()``.
    """

    position: Position
    picture: int
    stepped: int
    summary: Summary
    session: Annotated[bytes, Field(exclude=True)] = b""  # bulky: never a part of the JSON
