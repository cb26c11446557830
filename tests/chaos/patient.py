"""``python -m tests.chaos.patient``: a real worker that is given a minute for the books at its end.

A video must stop within the grace as ever. But where the machine is busy, what comes then may take
longer than ``parent.BOOKS_S``, and the alarm would end the process instead.
"""

from __future__ import annotations

import sys

from worker import __main__, parent

if __name__ == "__main__":
    parent.BOOKS_S = 60.0
    sys.exit(__main__.main())
