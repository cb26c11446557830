"""``python -m api``: runs the API until it is stopped."""

from __future__ import annotations

import sys

from shoal.local.process_guard import hide_process


def main() -> int:
    hide_process()  # before anything else is loaded, which takes a while
    import logging

    from api.server import serve
    from shoal import logging as logs, tracing
    from shoal.errors import ShoalError
    from shoal.exits import Exit, exit_code
    from shoal.settings import get_settings

    log = logging.getLogger("api")
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
