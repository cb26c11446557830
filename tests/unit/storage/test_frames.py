"""Folders of frames on their way up."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from shoal.errors import NoFrames
from shoal.storage.frames import pack


def write_frames(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(f"frame {name}".encode() * 1000)
    return folder


def test_the_same_frames_make_the_same_bytes(tmp_path: Path) -> None:
    one = write_frames(tmp_path / "one", ["b.jpg", "a.PNG", "ü.jpeg"])
    two = write_frames(tmp_path / "two", ["ü.jpeg", "a.PNG", "b.jpg"])
    (two / "notes.txt").write_text("not a frame")
    os.utime(two / "b.jpg", (0, 0))
    (two / "b.jpg").chmod(0o600)
    with pack(one) as first, pack(two) as second:
        assert first.read() == second.read()


def test_frames_are_packed_in_order_of_their_names(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", ["3.jpg", "1.jpg", "2.png"])
    with pack(folder) as packed, tarfile.open(fileobj=packed) as tar:
        assert tar.getnames() == ["1.jpg", "2.png", "3.jpg"]
        member = tar.extractfile("2.png")
        assert member is not None
        assert member.read() == (folder / "2.png").read_bytes()


def test_a_folder_without_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "movie.mp4").touch()
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(NoFrames):
        pack(tmp_path)
