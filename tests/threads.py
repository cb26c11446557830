"""Which threads of Shoal's own run in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Set

OURS = ("api", "autoscaler", "shoal", "worker")


def is_ours(thread: threading.Thread) -> bool:
    """Whether code of Shoal, and not of a library that it uses, is what the thread runs."""
    target = getattr(thread, "_target", None) or type(thread)
    module = getattr(target, "__module__", None) or ""
    return module.split(".")[0] in OURS


def wait_for_ours(before: Set[threading.Thread], timeout_s: float) -> list[str]:
    """Wait until our threads that were not there before have ended; the names of who has not."""
    end = time.monotonic() + timeout_s
    ours = [each for each in threading.enumerate() if each not in before and is_ours(each)]
    for thread in ours:
        thread.join(max(0.0, end - time.monotonic()))
    return [thread.name for thread in ours if thread.is_alive()]
