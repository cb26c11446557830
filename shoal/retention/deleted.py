"""What was deleted, and its totals."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.queue.queue import JobQueue


@dataclass(frozen=True)
class Deleted:
    """What was removed from storage; ``size`` in bytes."""

    files: int = 0
    size: int = 0

    def __add__(self, other: Deleted) -> Deleted:
        return Deleted(self.files + other.files, self.size + other.size)


def count(queue: JobQueue, kind: str, deleted: Deleted) -> None:
    """Add to the totals: deletions, and files and bytes deleted, of 'jobs' or 'uploads'."""
    pipe = queue.redis.pipeline()
    totals = queue.records.totals
    totals.add(pipe, f"deletions:{kind}", 1)
    totals.add(pipe, f"deletion_files:{kind}", deleted.files)
    totals.add(pipe, f"deletion_bytes:{kind}", deleted.size)
    pipe.execute()
