"""Interlaced pictures as whole ones: one for each that was decoded, at the same time.

FFmpeg's bwdif makes the missing lines of a picture of the fields of the one before and the one
after. Both are given to it with each picture, so what it makes depends on nothing else, and reading
that begins in the middle of a video yields the very pictures of one that came from its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import av
from av.filter import Graph

from shoal.errors import CheckpointUnusable, ShoalError
from shoal.model.job import Deinterlace
from worker.video.planes import Decoded
from worker.video.position import Mark
from worker.video.reader import Reader


class Deinterlaced:
    """A reader of another reader's pictures, each without its interlacing.

    It reads one picture ahead. Its marks hold that of the picture before, since that is where
    reading has to begin to have the neighbours of the next one.
    """

    def __init__(self, reader: Reader, how: Deinterlace) -> None:
        """``how``: all pictures (``on``), or those that say they are interlaced (``auto``)."""
        self.info = reader.info
        self._reader = reader
        self._every = how is Deinterlace.ON
        self._filter = _Bwdif()
        self._begin(None)

    def _begin(self, before: Decoded | None) -> None:
        self._before = before  # the next one
        self._ahead: tuple[Decoded, Mark] | None = None  # read already, and the mark before it
        self._mark: Mark | None = None

    @property
    def decode_errors(self) -> int:
        return self._reader.decode_errors

    @property
    def left_out(self) -> tuple[str, ...]:
        return self._reader.left_out

    @property
    def truncated(self) -> bool:
        return self._reader.truncated

    @property
    def missing_s(self) -> float:
        return self._reader.missing_s

    def pictures(self) -> Iterator[Decoded]:
        """Yield the pictures from the current place on; raises what the other reader does."""
        pictures = self._reader.pictures()
        here = self._ahead or self._read(pictures)
        while here:
            decoded, place = here
            fault: ShoalError | None = None
            try:
                here = self._read(pictures)
            except ShoalError as error:  # of what lies ahead: this picture is sound
                here, fault = None, error
            self._ahead = here
            stored = self._whole(decoded, here[0] if here else None)
            self._before = decoded
            self._mark = Mark(decoded.index, before=place)
            yield replace(decoded, stored=stored)
            if fault:
                raise fault

    def _read(self, pictures: Iterator[Decoded]) -> tuple[Decoded, Mark] | None:
        place = self._reader.mark()
        decoded = next(pictures, None)
        return (decoded, place) if decoded else None

    def _whole(self, decoded: Decoded, after: Decoded | None) -> av.VideoFrame:
        stored = decoded.stored
        if not (self._every or stored.interlaced_frame):
            return stored
        # At an end the other neighbour stands for the one that lacks: what moves is seen to move.
        before, after = self._before or after or decoded, after or self._before or decoded
        return self._filter.whole(stored, before.stored, after.stored)

    def mark(self) -> Mark:
        """The place after the picture yielded last."""
        return self._mark or self._reader.mark()

    def skip_to(self, index: int, on_picture: Callable[[], None]) -> None:
        """Pass by the pictures before this one; see ``Reader.skip_to``."""
        self._reader.skip_to(max(0, index - 1), on_picture)
        self._begin(next(self._reader.pictures(), None) if index else None)
        if self._before:
            on_picture()

    def resume(
        self, mark: Mark, is_it: Callable[[Decoded], bool], on_picture: Callable[[], None]
    ) -> None:
        """Read on after a place of an earlier run; see ``Reader.resume``."""
        if mark.before is None:
            self._reader.resume(mark, is_it, on_picture)
            self._begin(None)
            return
        for trusted in (True, False):
            found: list[Decoded] = []

            def remember(decoded: Decoded, found: list[Decoded] = found) -> bool:
                found.append(decoded)
                return trusted  # noqa: B023 - called in this turn only

            self._reader.resume(mark.before, remember, on_picture)
            self._begin(found[-1] if trusted and found else None)
            decoded = next(self.pictures(), None)
            on_picture()
            if decoded is None or decoded.index != mark.index:
                raise CheckpointUnusable(f"there is no picture {mark.index}")
            if not found or is_it(decoded):  # counted from the start, or recognized
                return

    def close(self) -> None:
        self._reader.close()


class _Bwdif:
    """FFmpeg's filter, asked for one picture at a time."""

    def __init__(self) -> None:
        self._shape: tuple[int, int, str] | None = None
        self._graph: Graph
        self._held: list[av.VideoFrame] = []  # the last two that it was given

    def whole(
        self, picture: av.VideoFrame, before: av.VideoFrame, after: av.VideoFrame
    ) -> av.VideoFrame:
        if _shape(picture) != self._shape:
            self._open(picture)
        before, after = (
            each if _shape(each) == self._shape else picture for each in (before, after)
        )
        is_next = [id(each) for each in self._held] == [id(before), id(picture)]
        made: av.VideoFrame | None = None
        for each in (after,) if is_next else (before, picture, after):
            self._graph.push(each)
            made = self._pull()
        self._held = [picture, after]
        assert made is not None
        return made

    def _open(self, picture: av.VideoFrame) -> None:
        self._shape, self._held = _shape(picture), []
        width, height, _ = self._shape
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=width, height=height, format=picture.format, time_base=Fraction(1, 1000)
        )
        bwdif = self._graph.add("bwdif", mode="send_frame", parity="auto", deint="all")
        self._graph.link_nodes(source, bwdif, self._graph.add("buffersink")).configure()

    def _pull(self) -> av.VideoFrame | None:
        try:
            made = self._graph.pull()
        except av.BlockingIOError:  # nothing yet: it was the very first
            return None
        assert isinstance(made, av.VideoFrame)
        return made


def _shape(picture: av.VideoFrame) -> tuple[int, int, str]:
    return picture.width, picture.height, picture.format.name
