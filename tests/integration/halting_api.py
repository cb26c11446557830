"""``python -m tests.integration.halting_api``: a real API that halts in the middle of a batch."""

from __future__ import annotations

import itertools
import sys
import time
from typing import Any

from api import __main__
from shoal.model.batch import Batch
from shoal.queue.batches import Batches

PAGES = 2  # kept; of the next one the jobs are queued, and that is as far as it gets

_advance, _page = Batches.advance, itertools.count()


def advance(self: Batches, *args: Any, **kwargs: Any) -> Batch:
    if next(_page) == PAGES:
        time.sleep(1000)
    return _advance(self, *args, **kwargs)


if __name__ == "__main__":
    Batches.advance = advance  # type: ignore[method-assign]
    sys.exit(__main__.main())
