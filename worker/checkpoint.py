"""Where a run is between two frames: what another process needs to go on with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from worker.seam import Seam
from worker.summary import Summary
from worker.video.position import Position
from worker.video.reverse import Survey


@dataclass(frozen=True, slots=True)
class Checkpoint:
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
        seam: what joins the passes, if there are two.
        complete: whether all passes are done: only what is made of their results is left to do.
        session: the predictor's ``Session.state()``.
    """

    position: Position | int | None = None
    picture: int = 0
    owed: int = 0
    summary: Summary = field(default_factory=Summary)
    backward: bool = False
    survey: Survey | None = None
    seam: Seam | None = None
    complete: bool = False
    session: Annotated[bytes, Field(exclude=True)] = b""  # bulky: never a part of the JSON
