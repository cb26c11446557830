"""``python -m worker``: one worker, until it is told to stop."""

from __future__ import annotations

import sys

from shoal.local.process_guard import hide_process


def main() -> int:
    hide_process()  # before anything else is loaded, which takes a while
    import logging

    from shoal import logging as logs, tracing
    from shoal.errors import ShoalError
    from shoal.exits import exit_code
    from shoal.queue.connection import connect
    from shoal.queue.queue import open_queue
    from shoal.settings import get_settings
    from shoal.storage.files import work_privately
    from worker.parent import Parent

    log = logging.getLogger("worker")
    work_privately()
    logs.setup()
    tracing.setup("worker")
    try:
        settings = get_settings()
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
