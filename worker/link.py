"""The messages between the parent and its model process, over one pipe.

JSON, not pickle: the model process decodes hostile files, and what it sends must not be able to
run code in the parent.
"""

from __future__ import annotations

import threading
from enum import StrEnum
from multiprocessing.connection import Connection
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from shoal.errors import Failure
from shoal.jobs import JobSpec
from shoal.records import Progress


class Run(BaseModel):
    """Parent: process this job."""

    kind: Literal["run"] = "run"
    spec: JobSpec
    worker: str
    attempt: int
    model_loads: int
    work_dir: str  # an empty folder of the job's own; the parent removes it


class Why(StrEnum):
    """Why a video is told to stop before its end."""

    PREEMPTED = "preempted"  # the worker must go: what was done is saved first
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


class Stop(BaseModel):
    """Parent: leave the job at the next frame."""

    kind: Literal["stop"] = "stop"
    why: Why


class Granted(BaseModel):
    """Parent: the job is still yours, go on with what you asked for."""

    kind: Literal["granted"] = "granted"


class Ready(BaseModel):
    """Model process: the model is loaded."""

    kind: Literal["ready"] = "ready"
    engine: str
    device: str


class Report(BaseModel):
    """Model process: how far it is."""

    kind: Literal["report"] = "report"
    progress: Progress


class Commit(BaseModel):
    """Model process: something is about to be written that others will trust; may it be?"""

    kind: Literal["commit"] = "commit"


class Happened(BaseModel):
    """Model process: for the job's timeline."""

    kind: Literal["happened"] = "happened"
    event: Literal["part", "resumed"]
    detail: dict[str, int]


class Done(BaseModel):
    """Model process: the results are published."""

    kind: Literal["done"] = "done"
    results: dict[str, int]
    summary: dict[str, Any]
    timings: dict[str, float] = {}  # seconds by stage


class Failed(BaseModel):
    """Model process: the job, or loading the model, failed.

    Attributes:
        lost: this process cannot go on: its next video would fail as well.
    """

    kind: Literal["failed"] = "failed"
    failure: Failure
    lost: bool = False


class Left(BaseModel):
    """Model process: it stopped in the middle, as it was told to."""

    kind: Literal["left"] = "left"


FromParent = Run | Stop | Granted
FromModel = Ready | Report | Commit | Happened | Done | Failed | Left
Message = Annotated[FromParent | FromModel, Field(discriminator="kind")]
_MESSAGE: TypeAdapter[FromParent | FromModel] = TypeAdapter(Message)


class Link:
    """One end of the pipe. Any thread may send; one thread receives."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._sending = threading.Lock()

    def send(self, message: BaseModel) -> None:
        """
        Raises:
            OSError: the other end is gone.
        """
        with self._sending:
            self.connection.send_bytes(message.model_dump_json().encode())

    def receive(self) -> FromParent | FromModel:
        """Wait for a message.

        Raises:
            EOFError, OSError: the other end is gone.
        """
        return _MESSAGE.validate_json(self.connection.recv_bytes())

    def close(self) -> None:
        self.connection.close()
