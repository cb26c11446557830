"""What every output of a job has in common.

There are three ways to make one:

* **Streamed**, where the picture is needed: a sink writes a piece per part while the video is
  tracked, and the pieces are joined when all is done. What a sink writes of a frame follows from
  that frame and its result alone: where one part ends and the next begins is chance.
* **Derived** from the tables of masks (``shoal.results.formats``), where no picture is needed:
  made when the parts are joined, and again at any time without the model.
* **Rendered** in a second pass over the source (``worker.outputs.second_pass``), where what is
  drawn depends on other frames than its own, or on frames that were not tracked. What depends on
  tracked frames is noted from the tables (``Notes``), and a sink draws by the notes. So the
  segments of a split job are rendered side by side.

What is made after the parts are joined follows from joined files and the source alone. So a
resumed job has the outputs of one that nothing disturbed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

from shoal.model.job import JobSpec
from shoal.results.formats.tables import Tables
from shoal.results.layout import AudioMetadata
from worker.engines.base import FrameResult
from worker.outputs.join import Join
from worker.outputs.second_pass import with_results
from worker.video.frame import Frame, VideoInfo
from worker.video.position import Extent
from worker.video.sampling import ALL_FRAMES, Sampling
from worker.video.sound import How, add_sound
from worker.video.source import Source

OptionsT = TypeVar("OptionsT")


class Sink(Protocol):
    """Writes one result file. Used by one thread at a time.

    Attributes:
        name: what its share of the time is listed under.
    """

    name: str

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Add one frame. The picture is shared with the other sinks: draw on a copy.

        Raises:
            OSError: the disk is full or the file cannot be written.
        """
        ...

    def close(self) -> None:
        """Finish the file: after this it is whole."""
        ...

    def abort(self) -> None:
        """Give up: release what is held and remove the unfinished file. Never raises."""
        ...


class Reopen(Protocol):
    """Opens a video for the frames that the job writes, or for ``every`` frame."""

    def __call__(self, *, every: bool = False) -> Source: ...


@dataclass(frozen=True, slots=True)
class Scene:
    """A job and its video, as far as both are known before the first frame.

    Attributes:
        source: the video on the local disk.
        written_fps: about how many frames are written per second of video.
        reopen: opens the video once more, at its beginning.
        folder: local; has the notes by which sinks draw, under the names of their pieces.
        sampling: which of its frames are written.
    """

    spec: JobSpec
    source: Path
    info: VideoInfo
    written_fps: float
    reopen: Reopen
    folder: Path
    sampling: Sampling = ALL_FRAMES


class StreamNeeds(StrEnum):
    """What must be known for a stream to be written."""

    FRAME = "frame"  # the picture, and what was found on it
    IDS = "ids"  # and the object IDs, which a split job knows when its segments are tracked
    VIDEO = "video"  # and what was found on other frames


@dataclass(frozen=True, slots=True)
class Stream:
    """A file that is written frame by frame, a piece per part.

    Attributes:
        kind: what it is called in ``Made.files``.
        piece: what its file in each part is called, such as ``overlay.mp4``.
        open: makes the sink that writes a piece to a path.
        join: makes one file of several pieces.
    """

    kind: str
    piece: str
    open: Callable[[Path], Sink]
    join: Join
    needs: StreamNeeds = StreamNeeds.IDS


class NotesFile(NamedTuple):
    """Where to write the notes of a part of a video, which ends where the next one begins.

    Attributes:
        first: number of its first frame.
        path: of the file.
    """

    first: int
    path: Path


@dataclass(frozen=True, slots=True)
class Notes:
    """What drawing a part of a video must know of all its frames.

    Attributes:
        piece: what the file of a part is called.
        write: makes the files, of the joined tables and the other streams of
            ``StreamNeeds.FRAME``, by kind.
    """

    piece: str
    write: Callable[[Tables, Mapping[str, Path], Sequence[NotesFile]], None]


@dataclass(frozen=True, slots=True)
class Made:
    """What there is when all frames are tracked and the pieces joined.

    Attributes:
        extent: how far the video was read.
        tables: the joined tables.
        files: local, by kind: ``masks``, ``frames``, and the other streams.
        folder: on the local disk, for scratch files.
        check: called for each frame that is rendered; raises Stopped if the job must go.
        pieces: the files of a kind in the parts.
        extras: additional files of an output, by kind, added by its ``finish``.
        sounds: what became of the sound, by the kind of the output; added likewise.
    """

    scene: Scene
    extent: Extent
    tables: Tables
    files: dict[str, Path]
    folder: Path
    check: Callable[[], None]
    pieces: Callable[[str], Sequence[Path]]
    extras: dict[str, Path] = field(default_factory=dict)
    sounds: dict[str, AudioMetadata] = field(default_factory=dict)

    @contextmanager
    def source_frames(self, *, every: bool = False) -> Iterator[Iterator[Frame]]:
        """The source once more, from its beginning; ``check`` is called before each frame."""
        with self.scene.reopen(every=every) as source, closing(self._checked(source)) as frames:
            yield frames

    def rendered(self, stream: Stream, notes: Notes) -> Path:
        """The file of a stream of ``StreamNeeds.VIDEO``: that of the parts, or drawn now."""
        if stream.kind in self.files:
            return self.files[stream.kind]
        notes.write(self.tables, self.files, [NotesFile(0, self.scene.folder / notes.piece)])
        path = self.folder / stream.piece
        with self.source_frames() as frames:
            draw_all(stream.open(path), with_results(frames, self.tables))
        return path

    def with_sound(self, kind: str, drawn: Path, path: Path, how: How) -> Path:
        """A video with the source's sound, as long as the source if that was shown to its end.

        Returns:
            ``path``, or ``drawn`` where there is nothing to add.
        """
        end_s = self.extent.end_s if self.extent.whole else None
        start_s = self.scene.info.start_s
        found, self.sounds[kind] = add_sound(drawn, self.scene.source, path, how, start_s, end_s)
        return found

    def _checked(self, source: Source) -> Generator[Frame, None, None]:
        for frame in source.frames():
            self.check()
            yield frame


def draw_all(sink: Sink, results: Iterable[tuple[Frame, FrameResult]]) -> None:
    """Write frames with a sink; its file is whole after this, or not there."""
    try:
        for frame, result in results:
            sink.write(frame, result)
        sink.close()
    except BaseException:
        sink.abort()
        raise


class Output(ABC, Generic[OptionsT]):
    """One kind of output of one job.

    Attributes:
        options: as the user gave them, a model of ``shoal.model.outputs``.
    """

    def __init__(self, options: OptionsT, scene: Scene) -> None:
        self.options = options
        self.scene = scene

    @property
    def is_rendered(self) -> bool:
        """Whether the source is read once more for it."""
        return False

    @classmethod
    def notes(cls, options: OptionsT) -> Notes | None:
        """By which its streams of ``StreamNeeds.VIDEO`` are drawn."""
        return None

    def streams(self) -> Sequence[Stream]:
        """What it writes frame by frame, beside the tables."""
        return ()

    @abstractmethod
    def finish(self, made: Made, path: Path) -> Path:
        """Make its file, now that all is known.

        Args:
            path: where to write it.

        Returns:
            ``path``, or where the file lies already.

        Raises:
            Stopped: ``made.check`` said so.
            OSError: the disk is full.
        """
