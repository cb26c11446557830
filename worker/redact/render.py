"""The pass that writes the redacted video: the source is read again when all is known.

No picture of the source is written before. A frame of which nothing is known is not written at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from shoal.errors import InternalError
from shoal.outputs import Redact
from worker.redact.bridge import Moment
from worker.redact.cover import Cloak
from worker.redact.report import Reporter
from worker.video.encode import Encoder
from worker.video.frame import Frame
from worker.video.planes import even_copy
from worker.video.source import Source


def redact(
    source: Source,
    decided: Iterator[Moment],
    output: Redact,
    path: Path,
    check: Callable[[], None],
) -> Reporter:
    """Write the pictures, all that was tracked, with what was found hidden.

    Args:
        source: opened, at its beginning.
        decided: all frames that were tracked.
        path: where to write the mp4.
        check: called before each frame; what it raises ends the pass.

    Returns:
        What was done.

    Raises:
        OSError: the disk is full.
    """
    info = source.info
    cloak, reporter = Cloak(output, info.height, info.width), Reporter()
    encoder, canvas = Encoder(path, info, info.fps), None
    try:
        for frame, moment in _pairs(source, decided):
            check()
            canvas = even_copy(frame.picture, canvas)
            for cover in moment.covers:
                cloak.hide(canvas, cover)
            encoder.write(canvas, frame.time_s)
            reporter.add(moment)
        encoder.close()
    except BaseException:
        encoder.abort()
        raise
    return reporter


def _pairs(source: Source, decided: Iterator[Moment]) -> Iterator[tuple[Frame, Moment]]:
    """Each frame of which something is known, with that."""
    with closing(source.frames()) as frames:
        for moment in decided:
            frame = next((each for each in frames if each.index >= moment.index), None)
            if frame is None or frame.index > moment.index:
                raise InternalError(f"frame {moment.index} is not there when read again")
            yield frame, moment
