"""The parts of one job in storage: written by one attempt, found by the next.

An object's name carries the number of the part and the attempt that made it, so that a worker
that lost its lease cannot replace what a later one wrote. The state of a part is uploaded last
and names the files that it needs, of all parts up to its own: what no state names is not there.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from shoal.errors import CheckpointUnusable, ShoalError, SourceNotFound
from shoal.jobs import JobSpec
from shoal.results import content_type, part_name, parts_prefix
from shoal.settings import Settings
from shoal.storage import ObjectInfo, storage_for
from shoal.storage.files import writing
from worker.part_state import Origin, PartFile, PartState, decode, encode

log = logging.getLogger(__name__)

STATE = "state"
STATES_KEPT = 2  # the newest, and one in case it cannot be used
_STATE_NAME = re.compile(r"(\d+)-a(\d+)\.state$")


class PartStore:
    """Saves parts and finds them again."""

    def __init__(
        self,
        spec: JobSpec,
        attempt: int,
        settings: Settings,
        folder: Path,
        *,
        may_write: Callable[[], None],
    ) -> None:
        """
        Args:
            folder: local, empty; gets the files of all parts.
            may_write: returns if the job is still this attempt's, and raises if not.
        """
        self.prefix = parts_prefix(spec)
        self.folder = folder
        self._attempt = attempt
        self._storage = storage_for(self.prefix, settings)
        self._may_write = may_write
        self._states: list[str] = []  # names of those in storage, the one to trust most last

    def path(self, number: int, kind: str) -> Path:
        """Where a file of one of this attempt's own parts is written before it is saved."""
        return self.folder / part_name(number, self._attempt, kind)

    # --- find ------------------------------------------------------------------------------------

    def newest(self, origin: Origin, on_file: Callable[[], None]) -> PartState | None:
        """The last part that can be continued; the files up to it are then in the folder.

        Args:
            origin: of this attempt.
            on_file: called before each file is fetched.

        Raises:
            StorageUnavailable and its like: the storage did not answer.
        """
        found = {info.uri.rpartition("/")[2]: info for info in self._storage.entries(self.prefix)}
        states = [match for name in found if (match := _STATE_NAME.fullmatch(name))]
        states.sort(key=lambda match: (int(match[1]), int(match[2])))
        self._states = [match[0] for match in states]
        for name in reversed(self._states.copy()):
            try:
                return self._load(found[name], found, origin, on_file)
            except (CheckpointUnusable, SourceNotFound) as error:
                log.warning("part %s is left aside: %s", name, error)
                self._states.remove(name)
                self._states.insert(0, name)  # the first to go
        return None

    def _load(
        self,
        info: ObjectInfo,
        found: dict[str, ObjectInfo],
        origin: Origin,
        on_file: Callable[[], None],
    ) -> PartState:
        on_file()
        state = decode(b"".join(self._storage.read(info.uri)), origin)
        for file in state.files:
            if file.name not in found or found[file.name].size != file.bytes:
                raise CheckpointUnusable(f"{file.name} is missing or cut off")
        for file in state.files:
            on_file()
            self._fetch(found[file.name], file)
        return state

    def _fetch(self, info: ObjectInfo, file: PartFile) -> None:
        digest = hashlib.sha256()
        path = self.folder / file.name
        with writing(str(path)), path.open("wb") as target:
            for chunk in self._storage.read(info.uri):
                digest.update(chunk)
                target.write(chunk)
        if digest.hexdigest() != file.sha256:
            raise CheckpointUnusable(f"{file.name} is not what was uploaded")

    # --- save ------------------------------------------------------------------------------------

    def describe(self, number: int, kinds: Sequence[str], backward: bool) -> tuple[PartFile, ...]:
        """The local files of one of this attempt's parts."""
        files = []
        for kind in kinds:
            path = self.path(number, kind)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = path.stat().st_size
            files.append(
                PartFile(name=path.name, kind=kind, bytes=size, sha256=digest, backward=backward)
            )
        return tuple(files)

    def save(self, state: PartState, files: Sequence[PartFile]) -> None:
        """Upload a part's own files, and then, if the job is still ours, its state.

        Raises:
            Stopped: the job is not wanted any more.
        """
        for file in files:
            self._put(self.folder / file.name)
        path = self.path(state.number, STATE)
        with writing(str(path)):
            path.write_bytes(encode(state))
        self._may_write()
        self._put(path)
        path.unlink()
        self._states.append(path.name)
        self._drop_states()

    def clear(self) -> None:
        """Remove all parts, those of other attempts as well; nobody needs them any more."""
        try:
            self._storage.delete(self.prefix)
        except ShoalError as error:
            log.warning("%s is left behind: %s", self.prefix, error)

    def _put(self, path: Path) -> None:
        self._storage.put(path, self.prefix + path.name, content_type(path.name))

    def _drop_states(self) -> None:
        """Remove outdated states: they may be large, and two are enough."""
        while len(self._states) > STATES_KEPT:
            self._storage.delete(self.prefix + self._states.pop(0))
