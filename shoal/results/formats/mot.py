"""MOTChallenge text: a line per object and frame.

https://arxiv.org/abs/2003.09003, table 5. Frames and pixels count from 1 there.
"""

from __future__ import annotations

from pathlib import Path

from shoal.results.formats.tables import Tables


def write(tables: Tables, path: Path) -> None:
    """Write ``frame, id, left, top, width, height, score, class, visibility, -1``.

    The frame is its number in the source; the class is the label's number in the job.
    """
    with path.open("w") as file:
        for row in tables.rows():
            x, y, w, h = row.xywh
            place = f"{x + 1:.2f},{y + 1:.2f},{w:.2f},{h:.2f}"
            kind = tables.categories[row.prompt]
            file.write(f"{row.frame + 1},{row.object_id},{place},{row.score:.4f},{kind},1,-1\n")
