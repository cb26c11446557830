"""``python -m tests.hanging_worker``: a real worker, one call of which hangs (``SHOAL_HANGS``)."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from typing import Any

from worker import __main__, parent, part_remover

CALLS: dict[str, tuple[Any, str]] = {
    "storage": (part_remover, "remove_parts"),
    "redis": (parent.Parent, "_take"),
    "the end": (parent, "withdraw"),
}


def hang(*args: Any, **kwargs: Any) -> None:
    print("hangs now", file=sys.stderr, flush=True)
    time.sleep(1000)


def outlast_the_alarm() -> None:
    """Let Python's end last until after the end of the grace, if that is still to come."""
    time.sleep(signal.getitimer(signal.ITIMER_REAL)[0] + 1)


if __name__ == "__main__":
    if (hangs := os.environ["SHOAL_HANGS"]) == "exit":
        atexit.register(outlast_the_alarm)
    else:
        setattr(*CALLS[hangs], hang)
    parent.REMOVE_S = 1.0
    sys.exit(__main__.main())
