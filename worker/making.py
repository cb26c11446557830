"""How each output of a job is made: the one place that knows all kinds.

There are three ways:

* **Streamed**, where the picture is needed: a sink writes a piece per part while the video is
  tracked, and the pieces are joined when all is done. A sink may know nothing of the part before
  its own: what it writes of a frame must follow from that frame and its result, since where one
  part ends and the next begins is chance.
* **Derived** from the tables, where no picture is needed: ``shoal.formats`` makes them when the
  parts are joined, and can make them again at any time without the model.
* **Rendered**, where what is drawn depends on other frames than its own, or on frames that were
  not tracked: the source is read once more when all masks are known (``worker.render``).

Whatever is made after the parts are joined follows from joined files and the source alone. So a
resumed job has the outputs of one that nothing disturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from shoal import formats
from shoal.formats.tables import Tables
from shoal.jobs import Direction, JobSpec
from shoal.outputs import AnyOutput, Crops, Masks, Overlay, Redact, WebmAlpha
from worker.contact_sheet import write_contact_sheet
from worker.cutouts import write_cutouts
from worker.join import Join, join_tables, join_videos
from worker.redact.render import redact
from worker.redact.scenes import LightSink
from worker.redact.timeline import moments
from worker.render import with_results
from worker.sinks.base import Sink
from worker.sinks.crops import CropsSink, join_crops
from worker.sinks.frames import FramesSink
from worker.sinks.masks import MasksSink
from worker.sinks.overlay import OverlaySink
from worker.video.frame import Frame, VideoInfo
from worker.video.position import Extent
from worker.video.sound import add_sound
from worker.video.source import Source


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
    """

    spec: JobSpec
    source: Path
    info: VideoInfo
    written_fps: float
    reopen: Reopen


@dataclass(frozen=True, slots=True)
class Streamed:
    """An output that is written while the video is tracked.

    Attributes:
        kind: the output's.
        piece: what its file in each part is called, such as ``overlay.mp4``.
        open: makes the sink that writes a piece to a path.
        join: makes one file of several pieces.
    """

    kind: str
    piece: str
    open: Callable[[Path], Sink]
    join: Join


@dataclass(frozen=True, slots=True)
class Made:
    """What there is when all frames are tracked and the pieces joined.

    Attributes:
        extent: how far the video was read.
        tables: the joined tables.
        files: local, by kind: ``masks``, ``frames``, and the other streamed outputs.
        folder: on the local disk, for scratch files.
        check: called for each frame that is rendered; raises Stopped if the job must go.
        beside: files that come with an output, by kind, for whoever makes one to add.
    """

    scene: Scene
    extent: Extent
    tables: Tables
    files: dict[str, Path]
    folder: Path
    check: Callable[[], None]
    beside: dict[str, Path] = field(default_factory=dict)


def streams(scene: Scene) -> list[Streamed]:
    """What is written in each part: the tables always, and the streamed outputs of the job."""
    tables = [
        Streamed("masks", "masks.parquet", lambda path: MasksSink(path, scene.info), join_tables),
        Streamed("frames", "frames.parquet", FramesSink, join_tables),
    ]
    found = (_streamed(output, scene) for output in scene.spec.options.outputs)
    return [each for each in found if each] + tables


def _streamed(output: AnyOutput, scene: Scene) -> Streamed | None:
    match output:
        case Overlay() if not is_rendered([output]):
            labels, fps = scene.spec.labels, scene.written_fps
            return Streamed(
                "overlay",
                "overlay.mp4",
                lambda path: OverlaySink(path, scene.info, labels, fps, output),
                join_videos,
            )
        case Crops(per_object=per_object):
            return Streamed(
                "crops",
                "crops.zip",
                lambda path: CropsSink(path, per_object),
                partial(join_crops, per_object),
            )
        case Redact():
            return Streamed("light", "light.parquet", LightSink, join_tables)
    return None


def is_rendered(outputs: Iterable[AnyOutput]) -> bool:
    """Whether the source is read once more for any of them."""
    return any(
        isinstance(each, (Redact, WebmAlpha))
        or (isinstance(each, Overlay) and (each.trails or each.rate == "original"))
        for each in outputs
    )


def finish(output: AnyOutput, made: Made, path: Path) -> Path:
    """Make the file of an output, now that all is known.

    Args:
        path: where to write it.

    Returns:
        ``path``, or where the file lies already.

    Raises:
        Stopped: ``made.check`` said so.
        OSError: the disk is full.
    """
    match output:
        case Overlay():
            return make_overlay(output, made, path)
        case Crops():
            made.beside["crops-sheet"] = sheet = made.folder / "sheet.jpg"
            write_contact_sheet(made.files["crops"], sheet)
            return made.files["crops"]
        case Redact():
            return make_redacted(output, made, path)
        case WebmAlpha():
            with made.scene.reopen() as source, closing(_checked(made, source)) as frames:
                write_cutouts(with_results(frames, made.tables), made.tables, path, made.folder)
            return path
        case Masks():
            return made.files["masks"]
    formats.write(output.kind, made.tables, path)
    return path


def make_overlay(output: Overlay, made: Made, path: Path) -> Path:
    """The overlay with the sound of the source."""
    drawn = made.files.get("overlay")
    if drawn is None:
        drawn = made.folder / "drawn.mp4"
        _draw_again(output, made, drawn)
    if not output.audio or add_sound(drawn, made.scene.source, path, "keep") == drawn:
        return drawn
    return path


def _draw_again(output: Overlay, made: Made, path: Path) -> None:
    scene, every = made.scene, output.rate == "original"
    options = scene.spec.options
    ends_early = options.max_frames or (
        options.direction is Direction.BACKWARD and options.start_frame is not None
    )
    fps = scene.info.fps if every else scene.written_fps
    with scene.reopen(every=every) as source, closing(_checked(made, source)) as frames:
        sink = OverlaySink(path, scene.info, scene.spec.labels, fps, output)
        try:
            for frame, result in with_results(
                frames, made.tables, in_between=every, to_the_end=not ends_early
            ):
                sink.write(frame, result)
            sink.close()
        except BaseException:
            sink.abort()
            raise


def _checked(made: Made, source: Source) -> Generator[Frame, None, None]:
    """All frames, unless the job must go."""
    for frame in source.frames():
        made.check()
        yield frame


def make_redacted(output: Redact, made: Made, path: Path) -> Path:
    """Render the redacted video; its report lies beside it."""
    scene = made.scene
    prompts = output.prompts or scene.spec.labels
    decided = moments(made.tables, made.files["light"], prompts, output.gap_seconds)
    silent = made.folder / "silent.mp4"
    with scene.reopen() as source:
        reporter = redact(source, decided, output, silent, made.check)
    if output.audio == "drop" or add_sound(silent, scene.source, path, output.audio) == silent:
        silent.rename(path)
    report = path.with_suffix(".json")
    text = reporter.report(scene.spec.id, output, list(prompts)).model_dump_json(indent=2)
    report.write_text(text + "\n")
    made.beside["redaction"] = report
    return path
