"""``python -m worker``: one worker, until it is told to stop."""

from __future__ import annotations

import logging
import sys

from shoal import logs, tracing
from shoal.errors import ShoalError
from shoal.exits import exit_code
from shoal.queue import connect, open_queue
from shoal.settings import get_settings
from worker.parent import Parent

log = logging.getLogger("worker")


def main() -> int:
    logs.setup()
    tracing.setup("worker")
    settings = get_settings()
    try:
        queue = open_queue(settings, connect(settings, attempts_s=60))
        Parent(settings, queue).run()
    except ShoalError as error:
        log.error("%s [%s]", error, error.code)
        log.error("%s", error.hint)
        return exit_code(error)
    tracing.shutdown()
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
