"""The parts of one job in storage: written by one attempt, found by the next.

An object's name carries the number of the part and the attempt that made it, so that a worker
that lost its lease cannot replace what a later one wrote. The state of a part is uploaded last
and names the files that it needs, of all parts up to its own: what no state names is not there.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from shoal.errors import CheckpointUnusable, ShoalError, SourceNotFound
from shoal.model.job import JobSpec
from shoal.results.layout import content_type, part_name, parts_prefix, state_name
from shoal.results.parts import STATE_NAME
from shoal.storage import ObjectInfo, storage_for
from shoal.storage.files import writing
from worker.pipeline.checkpoint import Checkpoint, Origin, SavedFile, decode, encode
from worker.pipeline.context import JobContext

log = logging.getLogger(__name__)

STATES_KEPT = 2  # the newest, and one in case it cannot be used
MOST_KEPT = 128  # where all are kept for corrections; then every other one goes


class PartStore:
    """Saves parts and finds them again.

    Args:
        spec: of the job that the parts are of, if that is not the context's.
        folder: name of the local one in the work directory; gets the files of all parts.
        keeps_states: whether checkpoints stay for corrections, as far as these can go on from them.
    """

    def __init__(
        self,
        context: JobContext,
        spec: JobSpec | None = None,
        folder: str = "parts",
        *,
        keeps_states: bool = False,
    ) -> None:
        self._keeps_states = keeps_states
        self.prefix = parts_prefix(spec or context.spec)
        self.folder = context.work_dir / folder
        self._context = context
        self._storage = storage_for(self.prefix, context.settings)
        self._states: list[str] = []  # names of those in storage, the one to trust most last
        with writing("the work directory"):
            self.folder.mkdir()

    def path(self, number: int, kind: str) -> Path:
        """Where a file of one of this attempt's own parts is written before it is saved."""
        return self.folder / part_name(number, self._context.run.attempt, kind)

    # --- find ------------------------------------------------------------------------------------

    def newest(
        self, origin: Origin, needs: Callable[[SavedFile], bool] = lambda file: True
    ) -> Checkpoint | None:
        """The last part that can be continued; the files up to it are then in the folder.

        Args:
            origin: of this attempt.
            needs: which of the files are fetched.

        Raises:
            Stopped: the job must stop.
            StorageUnavailable and its like: the storage did not answer.
        """
        found = {info.uri.rpartition("/")[2]: info for info in self._storage.entries(self.prefix)}
        states = [match for name in found if (match := STATE_NAME.fullmatch(name))]
        states.sort(key=lambda match: (int(match[1]), int(match[2])))
        self._states = [match[0] for match in states]
        for name in reversed(self._states.copy()):
            try:
                return self._load(found[name], found, origin, needs)
            except (CheckpointUnusable, SourceNotFound) as error:
                log.warning("ignoring checkpoint %s: %s", name, error)
                self._states.remove(name)
                self._states.insert(0, name)  # the first to go
        return None

    def _load(
        self,
        info: ObjectInfo,
        found: dict[str, ObjectInfo],
        origin: Origin,
        needs: Callable[[SavedFile], bool],
    ) -> Checkpoint:
        self._context.check()
        state = decode(b"".join(self._storage.read(info.uri)), origin)
        for file in state.files:
            if file.name not in found or found[file.name].size != file.bytes:
                raise CheckpointUnusable(f"{file.name} is missing or incomplete")
        for file in filter(needs, state.files):
            self._context.check()
            self._fetch(found[file.name], file)
        return state

    def _fetch(self, info: ObjectInfo, file: SavedFile) -> None:
        digest = hashlib.sha256()
        path = self.folder / file.name
        with writing(str(path)), path.open("wb") as target:
            for chunk in self._storage.read(info.uri):
                digest.update(chunk)
                target.write(chunk)
        if digest.hexdigest() != file.sha256:
            raise CheckpointUnusable(f"{file.name} has another checksum")

    # --- save ------------------------------------------------------------------------------------

    def describe(self, number: int, kinds: Sequence[str], backward: bool) -> tuple[SavedFile, ...]:
        """The local files of one of this attempt's parts."""
        files = []
        for kind in kinds:
            path = self.path(number, kind)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = path.stat().st_size
            files.append(
                SavedFile(name=path.name, kind=kind, bytes=size, sha256=digest, backward=backward)
            )
        return tuple(files)

    def save(self, state: Checkpoint, files: Sequence[SavedFile]) -> None:
        """Upload a part's own files, and then, if the job is still ours, its state.

        Raises:
            Stopped: the job is not wanted any more.
        """
        for file in files:
            self._put(self.folder / file.name)
        kept_at = state.kept_at if self._keeps_states else -1
        path = self.folder / state_name(state.number, self._context.run.attempt, kept_at)
        with writing(str(path)):
            path.write_bytes(encode(state))
        self._context.confirm()
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
        """Remove outdated states: they may be large, and two are enough to go on."""
        if not self._keeps_states:
            outdated = self._states[:-STATES_KEPT]
        elif len(self._states) > MOST_KEPT:
            outdated = self._states[:-STATES_KEPT:2]
        else:
            return
        for name in outdated:
            self._storage.delete(self.prefix + name)
            self._states.remove(name)
