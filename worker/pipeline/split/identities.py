"""One set of object IDs for a split video, from the tables of its segments.

Objects of neighbours are matched by their masks on all frames that both have tracked. One that is
on none of these, such as one that is hidden around the cut, gets a new ID in the later segment.
One that the later segment only assumed to have begun before it (``Query.assume_until_s``), and that
no object of the earlier one is, is left out until it could have begun by itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shoal.model.prompts import Removal
from worker.engines.base import Mask
from worker.matching import match
from worker.outputs import rle
from worker.pipeline.split.plan import OVERLAP
from worker.pipeline.summary import Summary

BATCH_ROWS = 5_000
NAMED = ["object_id", "detection_score"]  # columns that decide about IDs
MATCHED = ["frame", "object_id", "prompt", "rle", "height", "width"]  # columns that matching needs


@dataclass(frozen=True, slots=True)
class SegmentTables:
    """What a segment has left.

    Attributes:
        files: the pieces of each kind, in the order of their frames: ``masks.parquet``,
            ``frames.parquet``, and further tables with a row per frame.
        after, until: indices of frames: those later than the first, and not later than the second,
            are the segment's own. The rest of its frames is a neighbour's.
    """

    files: Mapping[str, Sequence[Path]]
    after: int
    until: int

    def rows(self, kind: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        for path in self.files.get(kind, ()):
            with pq.ParquetFile(path) as table:
                yield from table.iter_batches(BATCH_ROWS, columns=columns)

    def frames(self) -> NDArray[np.int64]:
        """(n,) indices of its frames, ascending."""
        found = [batch["frame"].to_numpy() for batch in self.rows("frames.parquet", ["frame"])]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def owns(self, frames: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (frames > self.after) & (frames <= self.until)


class SeenObject(NamedTuple):
    """An object on a frame, as ``match`` takes it."""

    object_id: int
    prompt: str
    mask: Mask


def pair(earlier: SegmentTables, later: SegmentTables) -> dict[int, int]:
    """Which objects of two neighbours are the same: ID in the earlier one by that in the later.

    Only those that are written: of two that the earlier one takes for different before and after
    the cut, the one before is meant.
    """
    # Those around the cut: where more are tracked by both, the later one warms up on them.
    both: list[int] = np.intersect1d(earlier.frames(), later.frames())[-OVERLAP:].tolist()
    before, after = (_sightings(each, both) for each in (earlier, later))
    return match(
        [before.get(frame, []) for frame in both], [after.get(frame, []) for frame in both]
    )


def _sightings(tables: SegmentTables, frames: Sequence[int]) -> dict[int, list[SeenObject]]:
    """The objects on these frames, by frame, that are on any of the segment's own."""
    found: dict[int, list[SeenObject]] = defaultdict(list)
    written: set[int] = set()
    wanted = pa.array(frames, pa.int64())
    for batch in tables.rows("masks.parquet", MATCHED):
        own = tables.owns(batch["frame"].to_numpy())
        written.update(batch["object_id"].to_numpy()[own].tolist())
        for row in batch.filter(pc.is_in(batch["frame"], wanted)).to_pylist():
            mask = rle.decode(row["rle"], row["height"], row["width"])
            found[row["frame"]].append(SeenObject(row["object_id"], row["prompt"], mask))
    return {
        frame: [each for each in seen if each.object_id in written] for frame, seen in found.items()
    }


class Identities:
    """Names the objects of one segment after the other: the first one's keep their IDs."""

    def __init__(self) -> None:
        self._next = 1
        self._names: dict[int, int] | None = None  # ID in the video by that in the segment

    def enter(self, same: Mapping[int, int]) -> None:
        """Go on with the next segment; ``same``: see ``pair``."""
        before = self._names
        self._names = {}
        if before is not None:
            self._names = {ours: before[old] for ours, old in same.items() if old in before}

    def knows(self, object_id: int) -> bool:
        """Whether an object of the segment has an ID in the video."""
        return self._names is not None and object_id in self._names

    def name(self, object_id: int, *, is_first: bool) -> int:
        """ID in the video of an object that is on one of the segment's own frames."""
        assert self._names is not None
        if object_id not in self._names:
            self._names[object_id] = object_id if is_first else self._next
        known = self._names[object_id]
        self._next = max(self._next, known + 1)
        return known


class Joiner:
    """Writes the own rows of segments with the IDs of the video.

    Attributes:
        summary: of all that was written so far.
    """

    def __init__(self, labels: Sequence[str], removed: Sequence[Removal]) -> None:
        self.summary = Summary()
        self.summary.expect(labels)
        self._removed = removed
        self._identities = Identities()
        self._first_scores: dict[int, float | None] = {}  # detection score by ID
        self._segments = 0

    def join(
        self, tables: SegmentTables, same: Mapping[int, int], paths: Mapping[str, Path]
    ) -> None:
        """Add the next segment.

        Args:
            same: see ``pair``.
            paths: where the tables are written, by kind.

        Raises:
            OSError: the disk is full.
        """
        self._identities.enter(same)
        objects: Counter[int] = Counter()  # by frame
        owned = tables.owns(tables.frames())
        for kind in ("masks.parquet", *sorted(paths.keys() - {"masks.parquet"})):
            if kind == "masks.parquet":
                made = self._masks(tables, objects)
            elif kind == "frames.parquet":
                made = self._frames(tables, objects)
            else:
                made = _own_rows(tables.rows(kind), owned)
            _write(paths[kind], made, pq.read_schema(tables.files[kind][0]))
        self._segments += 1

    def _masks(self, tables: SegmentTables, objects: Counter[int]) -> Iterator[pa.RecordBatch]:
        for rows in tables.rows("masks.parquet"):
            batch = rows.filter(pa.array(tables.owns(rows["frame"].to_numpy())))
            named = list(map(self._name, *(_values(batch, column) for column in NAMED)))
            batch = batch.filter(pa.array([each is not None for each in named], pa.bool_()))
            ids = [each for each in named if each is not None]
            scores = [
                self._first_scores.setdefault(name, score)
                for name, score in zip(ids, _values(batch, "detection_score"), strict=True)
            ]
            batch = _with(batch, "object_id", ids)
            batch = _with(batch, "detection_score", scores)
            frames = _values(batch, "frame")
            kept = [not self._leaves_out(*each) for each in zip(ids, frames, strict=True)]
            batch = batch.filter(pa.array(kept, pa.bool_()))
            self._count(batch, objects)
            yield batch

    def _name(self, object_id: int, detection_score: float | None) -> int | None:
        """ID in the video; None of an object that is only assumed, and was not there before."""
        is_first = not self._segments
        if detection_score is None and not (is_first or self._identities.knows(object_id)):
            return None
        return self._identities.name(object_id, is_first=is_first)

    def _count(self, batch: pa.RecordBatch, objects: Counter[int]) -> None:
        objects.update(_values(batch, "frame"))
        self.summary.detections += batch.num_rows
        rows = zip(_values(batch, "prompt"), _values(batch, "object_id"), strict=True)
        for prompt, object_id in set(rows):
            self.summary.object_ids[prompt].add(object_id)

    def _frames(self, tables: SegmentTables, objects: Counter[int]) -> Iterator[pa.RecordBatch]:
        summary = self.summary
        for rows in tables.rows("frames.parquet"):
            batch = rows.filter(pa.array(tables.owns(rows["frame"].to_numpy())))
            times = _values(batch, "time_s")
            if times:
                first = summary.first_time_s if summary.frames_written else times[0]
                summary.first_time_s, summary.last_time_s = first, times[-1]
                summary.frames_written += len(times)
            yield _with(batch, "objects", [objects[each] for each in _values(batch, "frame")])

    def _leaves_out(self, object_id: int, frame: int) -> bool:
        return any(r.object_id == object_id and r.frame <= frame for r in self._removed)


def _own_rows(
    batches: Iterable[pa.RecordBatch], owned: NDArray[np.bool_]
) -> Iterator[pa.RecordBatch]:
    """Of a table with a row per frame."""
    start = 0
    for batch in batches:
        yield batch.filter(pa.array(owned[start : start + batch.num_rows]))
        start += batch.num_rows


def _with(batch: pa.RecordBatch, column: str, values: Sequence[Any]) -> pa.RecordBatch:
    field = batch.schema.field(column)
    place = batch.schema.get_field_index(column)
    return batch.set_column(place, field, pa.array(values, field.type))


def _values(batch: pa.RecordBatch, column: str) -> list[Any]:
    return batch[column].to_pylist()


def _write(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as table:
        for batch in batches:
            if batch.num_rows:
                table.write_batch(batch)
