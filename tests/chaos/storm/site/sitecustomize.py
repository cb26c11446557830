"""A wall clock that may be wrong: ``time.time`` is ahead by the seconds in a file.

Python imports this module first where its folder leads PYTHONPATH. Clocks that cannot be set
(``time.monotonic``) are as they were.
"""

import os
import time
from pathlib import Path

_PATH = os.environ.get("SHOAL_STORM_CLOCK", "")
_real, _real_ns = time.time, time.time_ns


def _ahead() -> float:
    try:
        return float(Path(_PATH).read_text() or 0)
    except FileNotFoundError:
        return 0.0


if _PATH:
    time.time = lambda: _real() + _ahead()
    time.time_ns = lambda: _real_ns() + int(_ahead() * 1e9)
