"""A worker's scratch folder: one folder per job, gone after the job, also after a crash."""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shoal.storage.files import writing

log = logging.getLogger(__name__)
LOCK = "lock"


class WorkDir:
    """``<root>/<worker>/``, locked while its worker lives.

    The lock ends with the process however that ends, so a folder without one is debris: the next
    worker on the machine removes it.
    """

    def __init__(self, root: Path, worker: str) -> None:
        """
        Raises:
            DiskFull, StorageNotWritable: the folder cannot be made.
        """
        self.path = root / worker
        with writing(str(self.path)):
            self.path.mkdir(parents=True)
            self._lock = (self.path / LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        _sweep(root)

    @contextmanager
    def job(self, job_id: str) -> Iterator[Path]:
        """An empty folder for one attempt at a job.

        Raises:
            DiskFull, StorageNotWritable: it cannot be made.
        """
        path = self.path / job_id
        try:
            with writing(str(path)):
                path.mkdir(parents=True)
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _sweep(root: Path) -> None:
    """Remove the folders of workers that are gone."""
    for folder in root.iterdir():
        lock = folder / LOCK
        try:
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                log.info("removed %s: its worker is gone", folder)
        except BlockingIOError:
            continue  # its worker lives
        except OSError as error:
            log.debug("%s left alone: %s", folder, error)
