"""``python -m api``: the API, until it is told to stop."""

from __future__ import annotations

import logging
import sys

from api.server import serve
from shoal import logs, tracing
from shoal.errors import ShoalError
from shoal.exits import Exit, exit_code
from shoal.settings import get_settings

log = logging.getLogger("api")


def main() -> int:
    logs.setup()
    tracing.setup("api")
    try:
        serve(get_settings())
    except ShoalError as error:
        log.error("%s [%s]", error, error.code)
        log.error("%s", error.hint)
        return exit_code(error)
    except KeyboardInterrupt:  # while it waited for Redis
        return Exit.INTERRUPTED
    tracing.shutdown()
    log.info("stopped")
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
