"""What users asked for, and what they were told: the storm's own memory of each video."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from tests.chaos.storm.plan import Video


class Wish(StrEnum):
    """What the last answered request about a video wanted."""

    DONE = "done"
    CANCELLED = "cancelled"
    UNSURE = "unsure"  # it was refused, perhaps after the fact


@dataclass
class Entry:
    """One video as its users know it.

    Attributes:
        job: its id.
        asked: whether it was submitted.
        single: whether it was submitted outside of batches.
        accepted: whether a submission of it was answered.
        cancelled_at_attempt: the attempt that ran when its cancellation was confirmed.
        in_doubt: whether a request about it was never answered, and so may have come late.
        dropped: whether the cancellation of a batch of it was asked for, perhaps before its job
            was queued.
        hooks: webhook URLs of submissions that were answered.
        lock: one user at a time.
    """

    video: Video
    uri: str
    job: str
    asked: bool = False
    single: bool = False
    accepted: bool = False
    wish: Wish = Wish.DONE
    cancelled_at_attempt: int = 0
    in_doubt: bool = False
    dropped: bool = False
    hooks: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class BatchEntry:
    """A batch as its user knows it; without an ``id`` where the answer to its submission is
    missing."""

    entries: list[Entry]
    hook: str
    id: str = ""
    cancelled: bool = False


class Ledger:
    """All videos and batches of a round, and how users fared."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.batches: list[BatchEntry] = []
        self.outcomes: Counter[str] = Counter()
        self._counting = threading.Lock()

    def count(self, outcome: str) -> None:
        with self._counting:
            self.outcomes[outcome] += 1
