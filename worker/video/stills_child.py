"""Take stills of a video, for the model process, in a process that ``stills_server`` forks.

The model process is at somebody's video, which a hostile file that is only previewed must not end.
So that file is opened and decoded here, with little memory and time, without credentials, and
without a way to the storage but the ranges that the model process reads for it.
"""

from __future__ import annotations

import io
import json
import resource
import socket
import struct
from typing import Any

import numpy as np
from pydantic import BaseModel

from shoal.errors import ShoalError, VideoBomb
from worker.video.allocations import cap_allocations, max_allocation
from worker.video.planes import planes
from worker.video.probe import VideoLimits
from worker.video.probe_child import address_space, limit_address_space, table_room
from worker.video.range_file import RangeFile, receive
from worker.video.stills import Still, StillFile, Wanted

CPU_S = 30
PIXEL_ROOM = 160  # bytes for each pixel of a frame: 20 frames that the decoder holds, conversions
LENGTH = struct.Struct(">I")
ORDER, STILL, FAILED, END = b"O", b"S", b"F", b"E"  # what messages begin with


class StillsOrder(BaseModel):
    """What the model process wants."""

    name: str
    size: int
    max_pixels: int
    max_duration_s: float
    max_fps: float
    number: int
    times_s: tuple[float, ...]
    frames: tuple[int, ...]


def send(line: socket.socket, kind: bytes, header: dict[str, Any]) -> None:
    body = json.dumps(header).encode()
    line.sendall(kind + LENGTH.pack(len(body)) + body)


def take(line: socket.socket, order: StillsOrder) -> None:
    """Send the stills, one after the other.

    Raises:
        ShoalError: see ``StillFile``.
    """
    limits = VideoLimits(order.max_pixels, order.max_duration_s, order.max_fps)
    spare = max_allocation(order.max_pixels)
    cap_allocations(spare)
    room = table_room(order.size) + PIXEL_ROOM * min(order.max_pixels, 8192 * 4320)
    limit_address_space(address_space("VmSize") + room + spare)
    file = io.BufferedReader(RangeFile(line, order.size))
    try:
        video = StillFile(file, order.name, limits)
        for still in video.stills(Wanted(order.number, order.times_s, order.frames)):
            _send_still(line, still, video)
    except MemoryError as error:
        raise VideoBomb(f"{order.name} asks for too much memory") from error


def _send_still(line: socket.socket, still: Still, video: StillFile) -> None:
    picture = still.picture
    send(
        line,
        STILL,
        {
            "index": still.number,
            "is_exact": still.is_exact,
            "time_s": still.time_s,
            "asked": still.asked,
            "width": picture.width,
            "height": picture.height,
            "fps": video.fps,
            "duration_s": video.duration_s,
            "colours": [
                int(picture.colorspace),
                int(picture.color_range),
                int(picture.color_primaries),
                int(picture.color_trc),
            ],
        },
    )
    for plane in planes(picture):
        line.sendall(np.ascontiguousarray(plane).data)


def serve(fd: int) -> None:
    """Take the stills that are asked for on this socket."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))  # SIGXCPU, then SIGKILL
    with socket.socket(fileno=fd) as line:
        receive(line, len(ORDER))
        (length,) = LENGTH.unpack(receive(line, LENGTH.size))
        order = StillsOrder.model_validate_json(receive(line, length))
        try:
            take(line, order)
        except ShoalError as error:
            send(line, FAILED, {"code": error.code, "message": str(error), "hint": error.hint})
        else:
            send(line, END, {})
