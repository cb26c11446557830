"""The rules that are in force: reloaded when their file changes."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from shoal.errors import InvalidRules
from shoal.ingest import rules
from shoal.ingest.rules import Rules
from shoal.settings import Settings

log = logging.getLogger(__name__)


class RulesFile:
    """Gives the rules as the file has them now; a broken file leaves the last good ones in force.

    Attributes:
        fault: what is wrong with the file as it is now.
        loaded_at: when the rules in force were read, seconds since the epoch.
    """

    def __init__(self, settings: Settings) -> None:
        """
        Raises:
            InvalidRules: SHOAL_RULES names a file that cannot be read or is wrong.
        """
        self.path: Path | None = settings.rules
        self.fault: InvalidRules | None = None
        self.loaded_at = 0.0
        self._settings = settings
        self._reading = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._rules = Rules((), settings.results_root)
        if self.path:
            self._seen = self._signature(self.path)
            self._load(self.path)

    def current(self) -> Rules:
        """The rules to judge by."""
        if self.path:
            with self._reading:
                # Taken before the file is read: one that is being written is read once more.
                signature = self._signature(self.path)
                if signature != self._seen:
                    self._seen = signature
                    self._reload(self.path)
        return self._rules

    def _reload(self, path: Path) -> None:
        try:
            self._load(path)
        except InvalidRules as error:
            self.fault = error
            log.error("the rules file has errors, the previous rules are still active: %s", error)

    def _load(self, path: Path) -> None:
        self._rules = rules.load(path, self._settings)
        self.fault = None
        self.loaded_at = time.time()
        log.info("loaded %d rules from %s", len(self._rules.items), path)

    def _signature(self, path: Path) -> tuple[int, ...]:
        try:
            status = path.stat()
        except OSError:
            return ()  # gone: reading it says so
        return status.st_mtime_ns, status.st_size, status.st_ino
