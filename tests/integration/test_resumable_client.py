"""The client side of resumable uploads: broken lines, ended programs, ended uploads."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import httpx
import pytest

from shoal.client import Client, resumable
from shoal.client.transport import OnBytes
from shoal.errors import ApiError, ApiUnreachable
from tests.running import eventually

MIB = 1 << 20
CONTENT = os.urandom(6 * MIB)
PART = 4 * MIB  # the API writes so much at a time


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resumable, "MIN_BYTES", 1)
    monkeypatch.setattr(resumable, "PAUSE_S", 0.05)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "match.mp4"
    path.write_bytes(CONTENT)
    return path


class Line:
    """What is sent; each of ``faults`` ends one request after so many bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.faults: list[tuple[int, BaseException]] = []
        self.starts: list[int] = []
        self._rest = resumable._rest
        monkeypatch.setattr(resumable, "_rest", self.rest)

    def rest(
        self, file: IO[bytes], at: int, size: int, on_bytes: OnBytes | None
    ) -> Iterator[bytes]:
        self.starts.append(at)
        most, fault = self.faults.pop(0) if self.faults else (size, None)
        if fault and not most:
            raise fault
        for chunk in self._rest(file, at, size, on_bytes):
            yield chunk
            most -= len(chunk)
            if most <= 0 and fault:
                raise fault


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(monkeypatch)


def interrupt(client: Client, video: Path, line: Line) -> None:
    """Ctrl-C in the middle of an upload."""
    line.faults = [(5 * MIB, KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        client.upload(video)


def noted(folder: Path) -> str:
    """The URL of the one upload that the client remembers."""
    (note,) = (folder / "state" / "shoal" / "uploads").iterdir()
    return note.read_text()


def test_a_line_that_breaks_twice_costs_no_byte_that_arrived(
    client: Client, video: Path, line: Line
) -> None:
    line.faults = [(MIB, httpx.WriteError("gone")), (2 * MIB, httpx.ReadError("gone"))]
    told: list[tuple[int, int]] = []
    stored = client.upload(video, lambda done, size: told.append((done, size)))
    assert stored.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert stored.uri.endswith("/match.mp4")
    assert line.starts[0] == 0
    # Once more where the API was still writing what came before the line broke.
    assert len(line.starts) >= 3
    assert line.faults == []
    assert line.starts == sorted(line.starts)
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_another_run_continues(
    client: Client, http: httpx.Client, video: Path, line: Line, tmp_path: Path
) -> None:
    interrupt(client, video, line)
    place = noted(tmp_path)

    def arrived() -> int:
        return int(http.head(place, headers=resumable.TUS).headers["upload-offset"])

    eventually(lambda: arrived() >= PART, "what was sent to be written")
    with Client(client.url) as another:
        stored = another.upload(video)
    assert stored.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert line.starts[1] >= PART
    assert not any((tmp_path / "state" / "shoal" / "uploads").iterdir())


def test_a_file_that_was_changed_starts_over(client: Client, video: Path, line: Line) -> None:
    interrupt(client, video, line)
    video.write_bytes(CONTENT[::-1])
    os.utime(video, (1, 1))
    assert client.upload(video).sha256 == hashlib.sha256(CONTENT[::-1]).hexdigest()
    assert line.starts == [0, 0]


def test_one_that_was_ended_starts_over(
    client: Client, http: httpx.Client, video: Path, line: Line, tmp_path: Path
) -> None:
    interrupt(client, video, line)
    assert http.delete(noted(tmp_path), headers=resumable.TUS).status_code == 204
    assert client.upload(video).bytes == len(CONTENT)
    assert line.starts == [0, 0]


def test_a_line_that_stays_away_is_named(
    client: Client, video: Path, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "PATIENCE_S", 0.2)
    line.faults = [(0, httpx.ConnectError("away"))] * 1000
    with pytest.raises(ApiUnreachable) as given_up:
        client.upload(video)
    assert given_up.value.hint == resumable.HINT


def test_what_the_api_refuses_is_not_tried_again(client: Client, tmp_path: Path) -> None:
    path = tmp_path / ".hidden"
    path.write_bytes(b"x")
    with pytest.raises(ApiError, match="starts with a dot"):
        client.upload(path)
