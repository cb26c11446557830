"""The source read once more, when all masks are known: its frames with what was found on them."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.errors import InternalError
from shoal.results.formats.tables import Row, Tables
from worker.engines.base import FrameResult, Mask, ObjectResult
from worker.video.frame import Frame


def with_results(
    frames: Iterator[Frame], tables: Tables, *, in_between: bool = False, to_the_end: bool = False
) -> Iterator[tuple[Frame, FrameResult]]:
    """The written frames and their results.

    Args:
        frames: of the source from its beginning: the written ones at least.
        in_between: yield all others as well, with the objects of the written one before.
        to_the_end: with those, also what comes after the last written one.

    Raises:
        InternalError: a written frame is not among them.
    """
    written = tables.by_frame()
    result = FrameResult(-1)  # of the last written frame that was passed
    ahead = next(written, None)
    for frame in frames:
        if ahead and ahead[0] <= frame.index:
            if ahead[0] < frame.index:
                break
            result = FrameResult(ahead[0], [object_of(row) for row in ahead[2]])
            ahead = next(written, None)
        if result.index == frame.index or (in_between and result.index >= 0):
            yield frame, result
        if ahead is None and not (in_between and to_the_end):
            return
    if ahead:
        raise InternalError(f"frame {ahead[0]} is not there when the video is read again")


def object_of(row: Row) -> ObjectResult:
    """A row of the mask table as the sinks know it."""
    x, y, w, h = row.window
    mask = Mask(x, y, row.mask()[y : y + h, x : x + w])
    box = (row.box_x0, row.box_y0, row.box_x1, row.box_y1)
    return ObjectResult(row.object_id, row.prompt, row.score, box, mask, row.detection_score)
