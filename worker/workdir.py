"""A worker's scratch folder: one folder per job, gone after the job, also after a crash."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from shoal.local.private import make_private
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
            UnsafeFolder: ``root`` is open to other users.
        """
        self.path = root / worker
        with writing(str(self.path)):
            make_private(root)
            self._lock = self._locked()
        _sweep(root)

    def _locked(self) -> TextIO:
        """Make the folder; anew where another worker removed it before it was locked."""
        path = self.path / LOCK
        while True:
            self.path.mkdir(mode=0o700, exist_ok=True)
            lock = path.open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(lock.fileno())):
                    return lock
            lock.close()

    @contextmanager
    def job(self, job_id: str) -> Iterator[Path]:
        """An empty folder for one attempt at a job.

        Raises:
            DiskFull, StorageNotWritable: it cannot be made.
        """
        path = self.path / job_id
        try:
            with writing(str(path)):
                path.mkdir(mode=0o700)
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
                log.info("removed %s of a worker that has exited", folder)
        except BlockingIOError:
            continue  # its worker lives
        except OSError as error:
            log.debug("%s left alone: %s", folder, error)
