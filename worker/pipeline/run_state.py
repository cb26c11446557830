"""Where a run is between two frames: what another process needs to go on with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from worker.pipeline.matching import PassMatcher
from worker.pipeline.summary import Summary
from worker.video.position import Position
from worker.video.reverse import Survey


@dataclass(frozen=True, slots=True)
class RunState:
    """A pass over a video, begun or not, whose sinks have got all results up to a frame.

    Attributes:
        position: of that frame in the pass's ``Feed``; None before its first one, where there is
            no session either.
        picture: fingerprint of that frame.
        owed: how many frames after it the session's state has seen. They await their results:
            they are read again, but not stepped again.
        summary: of the job up to here.
        backward: whether it is the pass from the start frame to the first.
        survey: where the windows of that pass lie, once it is known.
        matcher: joins the object IDs of the passes, if there are two.
        fresh: whether tracking begins at the position: there is no session before it.
        stepped: index of the last frame that the session's state has seen; -1 if none.
        complete: whether all passes are done: only what is made of their results is left to do.
        session: the predictor's ``Session.state()``.
    """

    position: Position | int | None = None
    picture: int = 0
    owed: int = 0
    summary: Summary = field(default_factory=Summary)
    backward: bool = False
    survey: Survey | None = None
    matcher: PassMatcher | None = None
    fresh: bool = False
    stepped: int = -1
    complete: bool = False
    session: Annotated[bytes, Field(exclude=True)] = b""  # bulky: never a part of the JSON

    @property
    def begins(self) -> bool:
        """Whether there is no session to continue."""
        return self.position is None or self.fresh
