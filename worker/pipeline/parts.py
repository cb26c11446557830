"""A job's results on their way: cut into parts, each of which is saved when it is closed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from worker.outputs.base import Sink, Stream
from worker.outputs.join import join
from worker.outputs.reversed import Reversed
from worker.pipeline.checkpoint import Checkpoint, Origin, SavedFile
from worker.pipeline.context import JobContext
from worker.pipeline.part_store import PartStore
from worker.pipeline.run_state import RunState


class PartWriter:
    """The parts of one attempt, after those of the attempt that it continues.

    A ``Destination`` of the pipeline: a part ends when it has had its time, or when it must.

    Attributes:
        streams: the files of a part, and how each is written.
        resumed: attempts, this one included, that continued an earlier one.
    """

    def __init__(
        self, context: JobContext, store: PartStore, origin: Origin, streams: Sequence[Stream]
    ) -> None:
        continued = context.continued
        self.resumed = continued.resumed + 1 if continued else 0
        self.streams = streams
        self._context = context
        self._store = store
        self._origin = origin
        self._number = continued.number + 1 if continued else 1  # of the part at work
        self._saved: tuple[SavedFile, ...] = continued.files if continued else ()
        self._is_open = False  # whether the part at work has files
        self._backward = False  # whether it is of a backward pass
        self._due_at = time.monotonic() + context.settings.part_s

    @property
    def count(self) -> int:
        """Parts so far, the last one included if it has frames."""
        return self._number if self._is_open else self._number - 1

    def join(self, stream: Stream, path: Path) -> Path:
        """The pieces of all parts as one file: ``path``, or the only piece as it lies there.

        Raises:
            OSError: the disk is full.
        """
        return join(stream.join, self.paths(stream.piece), path)

    def paths(self, kind: str) -> list[Path]:
        """The local files of a kind in the order of their frames; the last need not be saved."""
        made = [
            (file.backward, self._store.folder / file.name)
            for file in self._saved
            if file.kind == kind
        ]
        if self._is_open:
            made.append((self._backward, self._store.path(self._number, kind)))
        forward = [path for backward, path in made if not backward]
        return [path for backward, path in reversed(made) if backward] + forward

    # --- Destination -----------------------------------------------------------------------------

    def open_part(self, backward: bool) -> Sequence[Sink]:
        self._is_open, self._backward = True, backward
        made = [(each, self._store.path(self._number, each.piece)) for each in self.streams]
        if backward:
            return [Reversed(path, each.open, each.join) for each, path in made]
        return [each.open(path) for each, path in made]

    def is_part_due(self) -> bool:
        return time.monotonic() >= self._due_at or self._context.must_save

    def close_part(self, checkpoint: RunState) -> None:
        self.save_part(checkpoint)

    def save_part(self, checkpoint: RunState) -> Checkpoint:
        """Save the part.

        Returns:
            What another attempt would continue from.

        Raises:
            Stopped: the job is not wanted any more.
            StorageNotWritable, StorageUnavailable, DiskFull: it cannot be saved.
        """
        files: tuple[SavedFile, ...] = ()
        if self._is_open:
            pieces = [each.piece for each in self.streams]
            files = self._store.describe(self._number, pieces, self._backward)
        state = Checkpoint(
            origin=self._origin,
            number=self._number,
            resumed=self.resumed,
            files=self._saved + files,
            timings=self._context.timings(),
            checkpoint=checkpoint,
        )
        with self._context.saving(state):
            self._store.save(state, files)
        self._saved = state.files
        self._number += 1
        self._is_open = False
        self._due_at = time.monotonic() + self._context.settings.part_s
        return state
