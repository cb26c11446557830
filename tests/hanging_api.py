"""``python -m tests.hanging_api``: the real API, one call of which hangs (``SHOAL_HANGS``)."""

from __future__ import annotations

import os
import sys
from typing import Any

from api import __main__, app, server
from api.routes import workers
from api.storage_calls import StorageCalls
from tests.hanging_worker import hang

LIMIT_S = 3.0
CALLS: dict[str, tuple[Any, str]] = {
    "the start": (app, "remove_expired"),
    "a request": (workers, "ask_to_drain"),
    "the end": (StorageCalls, "close"),
}

if __name__ == "__main__":
    setattr(*CALLS[os.environ["SHOAL_HANGS"]], hang)
    server.END_S = LIMIT_S
    sys.exit(__main__.main())
