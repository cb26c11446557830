"""Look at a video in a process of its own before this one opens it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from shoal.errors import ModelProcessDied, OpeningTimeout, OutOfMemory, VideoBomb
from worker.video import probe_child
from worker.video.allocations import cap_allocations, max_allocation
from worker.video.probe import VideoLimits

WALL_S = 120.0  # a disk may be slow; what computes for long is ended by its own limit before


def guard(path: Path, limits: VideoLimits) -> None:
    """Open a video under limits of memory and time, in another process; once for each file.

    From then on FFmpeg asks for no larger blocks in this process, either: what grows while the
    video is read fails as well.

    Raises:
        VideoBomb: opening it takes too much memory or computing, or crashes.
        OpeningTimeout: it took too long otherwise.
        OutOfMemory: the kernel ended the process.
        OSError: there is no such file.
    """
    cap_allocations(max_allocation(limits.max_pixels))
    found = path.stat()
    _probe(path, limits, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=16)  # each pass over a video opens it again
def _probe(path: Path, limits: VideoLimits, identity: tuple[int, ...]) -> None:
    command = [sys.executable, "-P", "-m", probe_child.__name__, str(path), str(limits.max_pixels)]
    try:
        done = subprocess.run(
            command,
            env=reading_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=WALL_S,
        )
    except subprocess.TimeoutExpired:
        raise OpeningTimeout(f"{path.name} could not be opened within {WALL_S:.0f} s") from None
    if done.returncode:
        _raise(path, done.returncode, done.stderr)


def _raise(path: Path, code: int, stderr: bytes) -> None:
    if code == probe_child.BOMB:
        room = probe_child.table_room(path.stat().st_size) >> 20
        raise VideoBomb(f"opening {path.name} takes more memory than such a file may: {room} MiB")
    if code == -signal.SIGXCPU:
        raise VideoBomb(f"opening {path.name} takes more than {probe_child.CPU_S} s of computing")
    if code == -signal.SIGKILL:
        raise OutOfMemory(f"the process that opened {path.name} was ended from outside")
    if code < 0:
        raise VideoBomb(f"opening {path.name} crashes: {signal.Signals(-code).name}")
    last_words = stderr.decode(errors="replace").strip().rpartition("\n")[2]
    raise ModelProcessDied(f"the process that opens videos ended with {code}: {last_words}")


def reading_environment() -> dict[str, str]:
    """Where to find libraries, and nothing that a hostile file should read."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    # One arena: others would reserve addresses that nobody uses.
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_ARENA_MAX": "1"}
