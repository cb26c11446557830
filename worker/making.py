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

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shoal import formats
from shoal.formats.tables import Tables
from shoal.jobs import JobSpec
from shoal.outputs import AnyOutput, Crops, Overlay, Redact
from worker.contact_sheet import write_contact_sheet
from worker.join import Join, join_tables, join_videos
from worker.redact.render import redact
from worker.redact.scenes import LightSink
from worker.redact.timeline import moments
from worker.sinks.base import Sink
from worker.sinks.crops import CropsSink, join_crops
from worker.sinks.frames import FramesSink
from worker.sinks.masks import MasksSink
from worker.sinks.overlay import OverlaySink
from worker.video.frame import VideoInfo
from worker.video.position import Extent
from worker.video.sound import add_sound
from worker.video.source import Source


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
    reopen: Callable[[], Source]


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
    """

    scene: Scene
    extent: Extent
    tables: Tables
    files: dict[str, Path]
    folder: Path
    check: Callable[[], None]


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
        case Overlay():
            return Streamed(
                "overlay",
                "overlay.mp4",
                lambda path: OverlaySink(path, scene.info, scene.spec.labels, scene.written_fps),
                join_videos,
            )
        case Redact():
            return Streamed("light", "light.parquet", LightSink, join_tables)
        case Crops(per_object=per_object):
            return Streamed(
                "crops",
                "crops.zip",
                lambda path: CropsSink(path, per_object),
                partial(join_crops, per_object),
            )
    return None


def is_rendered(outputs: Iterable[AnyOutput]) -> bool:
    """Whether the source is read once more for any of them."""
    return any(isinstance(each, Redact) for each in outputs)


def finish(output: AnyOutput, made: Made, path: Path) -> dict[str, Path]:
    """Make the files of an output, now that all is known.

    Args:
        path: where to write its file.

    Returns:
        Where the files lie, by kind: the output's own, and any that comes with it.

    Raises:
        Stopped: ``made.check`` said so.
        OSError: the disk is full.
    """
    if isinstance(output, Redact):
        return make_redacted(output, made, path)
    if output.kind not in made.files:
        formats.write(output.kind, made.tables, path)
        return {output.kind: path}
    file = made.files[output.kind]
    if isinstance(output, Crops):
        sheet = made.folder / "sheet.jpg"
        write_contact_sheet(file, sheet)
        return {output.kind: file, "crops-sheet": sheet}
    return {output.kind: file}


def make_redacted(output: Redact, made: Made, path: Path) -> dict[str, Path]:
    """Render the redacted video; its report lies beside it."""
    scene, files = made.scene, made.files
    prompts = output.prompts or scene.spec.labels
    decided = moments(files["frames"], files["masks"], files["light"], prompts, output.gap_seconds)
    silent = made.folder / "silent.mp4"
    with scene.reopen() as source:
        reporter = redact(source, decided, output, silent, made.check)
    if output.audio == "drop" or add_sound(silent, scene.source, path, output.audio) == silent:
        silent.rename(path)
    report = path.with_suffix(".json")
    text = reporter.report(scene.spec.id, output, list(prompts)).model_dump_json(indent=2)
    report.write_text(text + "\n")
    return {"redact": path, "redaction": report}
