"""What the default ``sample_fps`` makes of a local video, told before it is uploaded."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from shoal.formatting import counted, duration, number
from shoal.model.job import AUTO_ALL_FRAMES_S

PROBE_S = 10.0


def sampling_notice(source: str) -> str:
    """How many frames of a longer video 'auto' takes; empty for others, and if it is not known.

    It is not known where no worker is installed, and of URIs: then the worker tells when it has
    opened the video.
    """
    path = Path(source).expanduser()
    if "://" in source or not path.is_file() or not (find_spec("worker") and find_spec("av")):
        return ""
    seconds, fps = _length(path)
    if seconds <= AUTO_ALL_FRAMES_S:
        return ""
    of = f" of about {counted(seconds * fps, 'frame')}" if fps else " frames"
    return (
        f"{path.name} is longer than a minute ({duration(seconds)}): about {number(seconds)}{of} "
        "will be processed, 1 per second. For all frames: --sample-fps 0"
    )


def _length(path: Path) -> tuple[float, float]:
    """Seconds and frames per second; 0 if they cannot be read, which is the worker's to say."""
    command = [sys.executable, "-P", "-m", "worker.video.length", str(path.resolve())]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0.0, 0.0
    seconds, fps = map(float, run.stdout.split())
    return seconds, fps
