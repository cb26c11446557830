"""The two ends of the pipe between parent and model process.

A message is its length in four bytes, big-endian, and so much JSON: not pickle, for the model
process decodes hostile files, and what it sends must not be able to run code in the parent. The
parent's end believes nothing: lengths, kinds, values and rate are checked, and it waits for no
byte that was only announced.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from multiprocessing.connection import Connection

from pydantic import BaseModel, ValidationError

from worker.protocol import FROM_MODEL, FROM_PARENT, FromModel, FromParent

MAX_BYTES = 1 << 20  # of a message to the parent
MAX_MESSAGES, PER_S = 2000, 10.0  # to the parent: a job sends some ten in so many seconds
SEND_S = 10.0  # a model process that does not listen for so long is a dead one
CHUNK = 1 << 16


class MalformedMessage(Exception):
    """What came over the pipe is no message that the parent could get."""


class ModelEnd:
    """The model process's end. Any thread may send; one thread receives."""

    def __init__(self, fd: int) -> None:
        self._connection = Connection(fd)
        self._sending = threading.Lock()

    def send(self, message: BaseModel) -> None:
        """
        Raises:
            OSError: the parent is gone.
        """
        with self._sending:
            self._connection.send_bytes(message.model_dump_json().encode())

    def receive(self) -> FromParent:
        """Wait for a message.

        Raises:
            EOFError, OSError: the parent is gone.
        """
        return FROM_PARENT.validate_json(self._connection.recv_bytes())


class ParentEnd:
    """The parent's end, which never waits for the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._fd = connection.fileno()
        self._received = bytearray()
        self._times: deque[float] = deque(maxlen=MAX_MESSAGES)
        os.set_blocking(self._fd, False)

    def fileno(self) -> int:
        """For ``multiprocessing.connection.wait``."""
        return self._fd

    def close(self) -> None:
        self._connection.close()

    def send(self, message: BaseModel) -> None:
        """
        Raises:
            OSError: the model process is gone, or does not listen.
        """
        body = message.model_dump_json().encode()
        left = memoryview(len(body).to_bytes(4, "big") + body)
        deadline = time.monotonic() + SEND_S
        while left:
            wait_s = max(0.0, deadline - time.monotonic())
            if not select.select([], [self._fd], [], wait_s)[1]:
                raise TimeoutError("the model process does not take its messages")
            left = left[os.write(self._fd, left) :]

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to be read."""
        return not self._received and not select.select([self._fd], [], [], 0)[0]

    def read(self) -> None:
        """Take in what has arrived.

        Raises:
            EOFError, OSError: the model process is gone.
        """
        try:
            chunk = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            raise EOFError
        self._received += chunk

    def next(self) -> FromModel | None:
        """The next message that has arrived as a whole.

        Raises:
            MalformedMessage: it is none, or one too many.
        """
        if len(self._received) < 4:
            return None
        size = int.from_bytes(self._received[:4], "big")
        if not 0 < size <= MAX_BYTES:
            raise MalformedMessage(f"it announced a message of {size} bytes")
        if len(self._received) < 4 + size:
            return None
        body = bytes(self._received[4 : 4 + size])
        del self._received[: 4 + size]
        self._check_rate()
        try:
            return FROM_MODEL.validate_json(body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            where = ".".join(str(part)[:40] for part in first["loc"][:4])
            raise MalformedMessage(f"{where or 'message'}: {first['msg'][:200]}") from None

    def _check_rate(self) -> None:
        at = time.monotonic()
        if len(self._times) == MAX_MESSAGES and at - self._times[0] < PER_S:
            raise MalformedMessage(f"more than {MAX_MESSAGES} messages in {PER_S:.0f} s")
        self._times.append(at)
