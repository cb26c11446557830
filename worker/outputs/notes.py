"""Notes in tables: a file for each stretch of a video, from rows in the order of frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from worker.outputs.base import NotesFile
from worker.outputs.table import TableSink

GROUP_ROWS = 2_000


def write_rows(
    table: type[TableSink],
    rows: Iterable[tuple[Any, ...]],
    stretches: Sequence[NotesFile],
    lead_s: float = 0.0,
) -> None:
    """Write each row to the table of its stretch.

    Args:
        rows: they begin with the number of the frame and its time in seconds.
        lead_s: each table begins with the rows of so much time before its stretch.

    Raises:
        OSError: the disk is full.
    """
    left = iter(rows)
    row = next(left, None)
    lead: deque[tuple[Any, ...]] = deque()
    for here, following in pairwise([*stretches, None]):
        assert here is not None
        with closing(table(here.path)) as written:
            for each in lead:
                written.add(each, GROUP_ROWS)
            while row is not None and (following is None or row[0] < following.first):
                written.add(row, GROUP_ROWS)
                lead.append(row)
                while lead and lead[0][1] <= row[1] - lead_s:
                    lead.popleft()
                row = next(left, None)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table, by column."""
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(GROUP_ROWS):
            yield from batch.to_pylist()
