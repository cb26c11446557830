"""Results that come last frame first, written by a sink that wants them in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from worker.engines.base import FrameResult
from worker.outputs.base import Sink
from worker.outputs.join import Join, join
from worker.video.frame import Frame

# Held before they are written, as a piece of the file. Each piece begins with a key frame.
PIECE_BYTES = 256 << 20


class Reversed:
    """Holds results, turns them round and writes them, piece by piece; at the end the pieces are
    joined, the last one first, without encoding anything again.

    Sinks of the same frames hold the same pictures: they take the memory once.

    Attributes:
        name: that of the sink which writes.
    """

    def __init__(self, path: Path, open_sink: Callable[[Path], Sink], how: Join) -> None:
        """
        Args:
            path: of the file; its pieces lie beside it for a while.
            open_sink: makes the sink for a piece.
            how: joins pieces.
        """
        self._path = path
        self._open_sink = open_sink
        self._join = how
        self._pieces: list[Path] = []
        self._held: list[tuple[Frame, FrameResult]] = []
        self._bytes = 0
        self._sink: Sink | None = self._open()
        self.name = self._sink.name

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Add the frame before the last one."""
        size = frame.bytes
        size += sum(each.mask.bits.nbytes for each in result.objects)
        if self._held and self._bytes + size > PIECE_BYTES:
            self._flush()
        self._held.append((frame, result))
        self._bytes += size

    def close(self) -> None:
        self._flush()
        pieces = self._pieces[::-1]
        whole = join(self._join, pieces, self._path)
        if whole != self._path:  # there is but one
            whole.rename(self._path)
        self._remove_pieces()

    def abort(self) -> None:
        if self._sink:
            self._sink.abort()
        self._held.clear()
        self._remove_pieces()
        self._path.unlink(missing_ok=True)

    def _open(self) -> Sink:
        piece = self._path.with_name(f"{self._path.stem}-{len(self._pieces)}{self._path.suffix}")
        self._pieces.append(piece)
        return self._open_sink(piece)

    def _flush(self) -> None:
        self._sink = self._sink or self._open()
        while self._held:
            self._sink.write(*self._held.pop())
        self._sink.close()
        self._sink = None
        self._bytes = 0

    def _remove_pieces(self) -> None:
        for piece in self._pieces:
            piece.unlink(missing_ok=True)
