"""How much memory a model process may hold where nobody said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.local import memory
from shoal.local.memory import GIB, available, ceiling, held
from shoal.settings import Settings

V1 = "12:pids:/a\n4:memory:/docker/ab\n0::/ignored\n"
V2 = "0::/user.slice/shoal.service\n"
UNLIMITED_V1 = "9223372036854771712"


def found(tmp_path: Path, membership: str, *files: tuple[str, str], total_kb: int = 0) -> int:
    (tmp_path / "membership").write_text(membership)
    (tmp_path / "meminfo").write_text(f"MemTotal:  {total_kb} kB\n" if total_kb else "")
    for name, content in files:
        path = tmp_path / "cgroups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return available(tmp_path / "membership", tmp_path / "cgroups", tmp_path / "meminfo")


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        (V2, [("user.slice/shoal.service/memory.max", f"{2 * GIB}\n")], 2 * GIB),
        (V2, [("memory.max", f"{GIB}\n")], GIB),  # a container with the host's path
        (
            V2,
            [
                ("user.slice/shoal.service/memory.max", "max\n"),
                ("user.slice/memory.max", f"{3 * GIB}\n"),  # of the group around it
            ],
            3 * GIB,
        ),
        (V2, [("user.slice/shoal.service/memory.max", "max\n")], 8 * GIB),  # the machine's
        (V2, [("user.slice/shoal.service/memory.max", f"{64 * GIB}\n")], 8 * GIB),
        (V1, [("memory/docker/ab/memory.limit_in_bytes", f"{GIB}\n")], GIB),
        (V1, [("memory/memory.limit_in_bytes", f"{UNLIMITED_V1}\n")], 8 * GIB),
        ("", [], 8 * GIB),
    ],
)
def test_the_containers_limit_or_the_machines_memory(
    tmp_path: Path, membership: str, files: list[tuple[str, str]], expected: int
) -> None:
    assert found(tmp_path, membership, *files, total_kb=8 * GIB // 1024) == expected


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert available(nowhere, nowhere, nowhere) == 0


@pytest.mark.parametrize(
    ("total", "workers", "share"),
    [
        (0, 1, 0),
        (4 * GIB, 1, 4 * GIB - 4 * GIB // 10),
        (100 * GIB, 1, 99 * GIB),
        (100 * GIB, 8, 99 * GIB // 8),
        (GIB, 1, GIB - GIB // 8),
    ],
)
def test_some_room_is_left_and_workers_share_the_rest(
    total: int, workers: int, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: total)
    assert abs(ceiling(workers) - share) <= workers


def test_what_is_held_counts_children_and_not_mapped_files(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(300 << 20)
    child = "x = bytearray(b'1') * (100 << 20); print('ready', flush=True); input()"
    code = f"""
import mmap, subprocess, sys
file = open({str(big)!r}, "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(mapped[i] for i in range(0, len(mapped), 4096))
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
input()
child.kill()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert 100 << 20 < held(process.pid) < 180 << 20
    finally:
        process.communicate(b"\n")
    assert held(process.pid) == 0
    assert held(os.getpid()) > 1 << 20


@pytest.mark.parametrize(
    ("text", "size"), [("12GiB", 12 * GIB), ("1500MB", 1_500_000_000), ("1024", 1024), ("0", 0)]
)
def test_the_setting_takes_units(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_MAX_MEMORY", text)
    assert Settings().max_memory == size
