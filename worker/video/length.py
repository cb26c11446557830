"""``python -m worker.video.length FILE``: a video's seconds and frames per second, as it announces
them; 0 for what it does not. ``shoal submit`` asks for them where a worker is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import av

from shoal.errors import ShoalError
from worker.video.probe import VideoLimits, open_container


def main() -> None:
    try:
        container, stream = open_container(Path(sys.argv[1]), VideoLimits())
    except ShoalError as error:
        sys.exit(str(error))
    with container:
        seconds = (container.duration or 0) / av.time_base
        sys.stdout.write(f"{seconds} {float(stream.average_rate or 0)}\n")


if __name__ == "__main__":
    main()
