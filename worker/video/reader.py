"""What reads the pictures of a video, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from worker.video.frame import VideoInfo
from worker.video.planes import Decoded
from worker.video.position import Mark


class Reader(Protocol):
    """What a video file and a picture sequence have in common."""

    info: VideoInfo

    @property
    def left_out(self) -> tuple[str, ...]:
        """What of the source was not read, each in a sentence; all known at the end."""
        ...

    @property
    def decode_errors(self) -> int:
        """Packets or pictures so far that were damaged or could not be decoded."""
        ...

    @property
    def truncated(self) -> bool:
        """Whether it was cut off."""
        ...

    @property
    def missing_s(self) -> float:
        """Seconds that were announced but could not be read; known once all is read."""
        ...

    def pictures(self) -> Iterator[Decoded]:
        """Yield the pictures from the current place on."""
        ...

    def mark(self) -> Mark:
        """The place after the picture yielded last; before any, that before the first."""
        ...

    def skip_to(self, index: int, on_picture: Callable[[], None]) -> None:
        """Pass by the pictures before this one, as far as there are any."""
        ...

    def resume(
        self, mark: Mark, is_it: Callable[[Decoded], bool], on_picture: Callable[[], None]
    ) -> None:
        """Read on after a place of this run or an earlier one.

        Args:
            is_it: recognizes the picture at the place.
            on_picture: called for each one that is decoded on the way there.

        Raises:
            CheckpointUnusable: there is no such place.
        """
        ...

    def close(self) -> None: ...
