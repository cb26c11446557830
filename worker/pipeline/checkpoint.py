"""The state that is kept with a part: all that a later attempt needs to continue after it.

One object: the SHA-256 of the rest in hex, then a header in JSON, then the predictor's session
state, each but the last on a line of its own. JSON, not pickle: what a bucket holds must not be
able to run code.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, ValidationError

from shoal.errors import CheckpointUnusable
from worker.pipeline.run_state import RunState

VERSION = 4


class SavedFile(BaseModel):
    """A file of a part, as it was uploaded.

    Attributes:
        name: below the job's parts.
        kind: which result it is a piece of, such as ``masks.parquet``.
        bytes: its size.
        sha256: of its content, in hex.
        backward: whether the next part comes before it in the video.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    bytes: int
    sha256: str
    backward: bool = False


class Origin(BaseModel):
    """What must be the same for an attempt to continue another.

    Attributes:
        version: of this format.
        job_id, prompts: the job.
        made_by: names and versions of the engine and of what writes the files; as what is
            expected, empty for any.
    """

    model_config = ConfigDict(frozen=True)

    version: int = VERSION
    job_id: str
    prompts: tuple[str, ...]
    made_by: dict[str, str]

    def accepts(self, other: Origin) -> bool:
        """Whether what has the ``other`` origin can be continued here."""
        made_by = self.made_by or other.made_by
        return other == self.model_copy(update={"made_by": made_by})


class Checkpoint(BaseModel):
    """A complete part and those before it.

    Attributes:
        number: of the part, from 1.
        resumed: attempts so far that continued an earlier one.
        files: of all parts up to this one, in the order of their making.
        timings: seconds by stage, of all work so far.
    """

    model_config = ConfigDict(frozen=True)

    origin: Origin
    number: int
    resumed: int
    files: tuple[SavedFile, ...]
    timings: dict[str, float]
    checkpoint: RunState

    @property
    def kept_at(self) -> int:
        """The last frame that the engine has seen, if corrections can go on from here; else -1."""
        at = self.checkpoint
        goes_on = at.position is not None and not (at.backward or at.matcher or at.complete)
        return at.stepped if goes_on else -1


def encode(state: Checkpoint) -> bytes:
    """The object to be uploaded."""
    content = state.model_dump_json().encode() + b"\n" + state.checkpoint.session
    return _digest(content) + b"\n" + content


def decode(data: bytes, origin: Origin) -> Checkpoint:
    """The state in an object.

    Raises:
        CheckpointUnusable: it is damaged, or not of this origin.
    """
    digest, _, content = data.partition(b"\n")
    if _digest(content) != digest:
        raise CheckpointUnusable("the checkpoint is corrupt")
    header, _, session = content.partition(b"\n")
    try:
        state = Checkpoint.model_validate_json(header)
    except ValidationError as error:
        raise CheckpointUnusable("the checkpoint has another version") from error
    if not origin.accepts(state.origin):
        raise CheckpointUnusable(f"the checkpoint is of {state.origin}, this is {origin}")
    checkpoint = replace(state.checkpoint, session=session)
    return state.model_copy(update={"checkpoint": checkpoint})


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
