"""``python -m tests.chaos.worker``: a real worker that can be held, and that waits at stages.

It takes jobs only while there is a file ``go`` in its slot, and says ``held`` when it does not.
"""

from __future__ import annotations

import os
import sys

from tests.chaos.barrier import BOOKS, slot
from tests.chaos.stages import wrap_parent
from worker import __main__, parent

HOLD_S = 0.02
dequeue = parent.Parent._dequeue


def dequeue_if_let(self: parent.Parent) -> str | None:
    go, held = slot() / "go", slot() / "held"
    if go.exists():
        held.unlink(missing_ok=True)
        return dequeue(self)
    held.touch()
    self._beat_if_due()
    self.model.sleep(HOLD_S)
    return None


if __name__ == "__main__":
    wrap_parent()
    parent.POLL_S = 0.2  # type: ignore[assignment]  # held sooner
    parent.BOOKS_S = float(os.environ.get(BOOKS, parent.BOOKS_S))
    parent.Parent._dequeue = dequeue_if_let  # type: ignore[method-assign]
    sys.exit(__main__.main())
