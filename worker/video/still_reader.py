"""Stills of a video in any storage, taken by a process of their own (``stills_child``)."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Annotated, NoReturn

import av
import numpy as np
from pydantic import BaseModel, Field, ValidationError

from shoal.errors import OutOfMemory, PreviewLimit, ShoalError, VideoBomb
from shoal.storage import Storage
from worker.video import stills_child, stills_server
from worker.video.fork_server import ForkServer
from worker.video.frame import Frame
from worker.video.planes import planes
from worker.video.probe import VideoLimits
from worker.video.range_file import BLOCK, MAX_BLOCKS, RANGE, REQUEST, receive
from worker.video.stills import Wanted
from worker.video.stills_child import END, FAILED, LENGTH, ORDER, STILL, StillsOrder

MAX_BYTES = 256 << 20  # of the source
MAX_S = 45.0  # for all stills, without what is done with them meanwhile
MAX_HEADER = 64 << 10
SERVER = ForkServer(("-m", stills_server.__name__))

Colour = Annotated[int, Field(ge=0, le=255)]


class _Header(BaseModel):
    """What the child, which reads a hostile file, says of a still."""

    index: int = Field(ge=0, le=2**31 - 1)
    is_exact: bool
    time_s: float = Field(ge=0, le=1e7)
    asked: int | None = Field(ge=0, le=2**31 - 1)
    width: int = Field(ge=1, le=1 << 16)
    height: int = Field(ge=1, le=1 << 16)
    fps: float = Field(ge=0, le=1e6)
    duration_s: float = Field(ge=0, le=1e7)
    colours: tuple[Colour, Colour, Colour, Colour]


@dataclass(frozen=True, slots=True)
class TakenStill:
    """A still as a frame, and what the video announces.

    Attributes:
        is_exact: whether the frame's index is; else it is reckoned by time and rate.
        asked: the number that it was asked for by, if it was.
    """

    frame: Frame
    is_exact: bool
    asked: int | None
    fps: float
    duration_s: float


class ReportedError(ShoalError):
    """An error that the child has met, with the child's code."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code  # type: ignore[misc]  # of an instance, for once


class StillReader:
    """Takes stills of one video; iterate once.

    Attributes:
        bytes_read: of the source so far.
    """

    def __init__(
        self, storage: Storage, uri: str, size: int, wanted: Wanted, limits: VideoLimits
    ) -> None:
        self.bytes_read = 0
        self._storage, self._uri, self._size = storage, uri, size
        self._limits = limits
        self._name = uri.rstrip("/").rsplit("/", 1)[-1]
        self._order = StillsOrder(
            name=self._name,
            size=size,
            max_pixels=limits.max_pixels,
            max_duration_s=limits.max_duration_s,
            max_fps=limits.max_fps,
            number=wanted.number,
            times_s=tuple(wanted.times_s),
            frames=tuple(wanted.frames),
        )
        self._left_s = MAX_S

    def stills(self) -> Generator[TakenStill, None, None]:
        """
        Raises:
            PreviewLimit: it takes too many bytes of the source, or too long.
            VideoBomb: it takes too much memory or computing, or crashes the process.
            ShoalError: what ``StillFile`` or the storage raises.
        """
        with SERVER.forked() as process:
            line = process.line
            try:
                body = self._order.model_dump_json().encode()
                line.sendall(ORDER + LENGTH.pack(len(body)) + body)
                yield from self._messages(line)
            except TimeoutError:
                raise PreviewLimit(f"reading {self._name} takes more than {MAX_S:.0f} s") from None
            except ValidationError as error:
                raise VideoBomb(f"the process that reads {self._name} sent nonsense") from error
            except (EOFError, ConnectionError):
                line.close()  # so that it ends, if it has not
                _raise(self._name, process.wait())

    def _messages(self, line: socket.socket) -> Iterator[TakenStill]:
        while True:
            started = time.monotonic()
            line.settimeout(max(0.01, self._left_s))
            kind = receive(line, 1)
            if kind == RANGE:
                self._serve(line)
            elif kind == STILL:
                still = self._receive_still(line)
                self._left_s -= time.monotonic() - started
                yield still
                continue
            elif kind == FAILED:
                error = _Reported.model_validate_json(_body(line))
                raise ReportedError(error.code, error.message, error.hint)
            elif kind == END:
                return
            else:
                raise EOFError
            self._left_s -= time.monotonic() - started

    def _serve(self, line: socket.socket) -> None:
        start, length = REQUEST.unpack(receive(line, REQUEST.size))
        if length > MAX_BLOCKS * BLOCK or start + length > self._size:
            raise EOFError
        self.bytes_read += length
        if self.bytes_read > MAX_BYTES:
            raise PreviewLimit(
                f"a preview of {self._name} takes more than {MAX_BYTES >> 20} MiB of it"
            )
        data = b"".join(self._storage.read(self._uri, start, length))
        if len(data) != length:
            raise PreviewLimit(f"{self._name} has become shorter while it was read")
        line.sendall(data)

    def _receive_still(self, line: socket.socket) -> TakenStill:
        header = _Header.model_validate_json(_body(line))
        self._limits.check_size(header.width, header.height)
        picture = av.VideoFrame(header.width, header.height, "yuv420p")
        for plane in planes(picture):
            data = receive(line, plane.size)
            plane[:] = np.frombuffer(data, np.uint8).reshape(plane.shape)
        matrix, colour_range, primaries, transfer = header.colours
        picture.colorspace, picture.color_range = matrix, colour_range
        picture.color_primaries, picture.color_trc = primaries, transfer
        return TakenStill(
            Frame(header.index, header.time_s, picture, wanted=True),
            header.is_exact,
            header.asked,
            header.fps,
            header.duration_s,
        )


class _Reported(BaseModel):
    code: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    message: str = Field(max_length=4000)
    hint: str = Field(max_length=4000)


def _body(line: socket.socket) -> bytes:
    (length,) = LENGTH.unpack(receive(line, LENGTH.size))
    if length > MAX_HEADER:
        raise EOFError
    return receive(line, length)


def _raise(name: str, code: int) -> NoReturn:
    if code == -signal.SIGXCPU:
        raise VideoBomb(f"reading {name} takes more than {stills_child.CPU_S} s of computing")
    if code == -signal.SIGKILL:
        raise OutOfMemory(f"the process that read {name} was ended from outside")
    raise VideoBomb(f"reading {name} ends the process that reads it ({code})")
