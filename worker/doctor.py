"""``python -m worker.doctor`` (``shoal doctor``): checks whether a worker can run here.

It checks the requirements of a worker one by one, and runs one frame through the engine that the
worker would use.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import numpy as np
from rich.table import Table
from rich.text import Text

import shoal
from shoal import formatting
from shoal.cli import output
from shoal.errors import ShoalError
from shoal.exits import Exit
from shoal.queue.connection import connect
from shoal.settings import Settings, get_settings
from shoal.storage import storage_for
from worker import engines as predictors
from worker.engines import cuda
from worker.engines.base import Predictor, Query
from worker.engines.gpu import as_gpu_error
from worker.video.frame import Frame, VideoInfo

NEEDED = ("av", "numpy", "onnxruntime", "opencv-python-headless", "pyarrow", "pycocotools")
FOR_GPUS = ("torch", "torchvision", "transformers", "sam3")
WIDTH, HEIGHT = 640, 360  # of the test frame
LOW_DISK = 5e9  # bytes


class Health(StrEnum):
    OK = "ok"
    NOTE = "note"  # worth knowing, but no problem for this worker
    BROKEN = "broken"


STYLES = {Health.OK: "green", Health.NOTE: "yellow", Health.BROKEN: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; ``hint`` says what to do."""

    name: str
    health: Health
    detail: str
    hint: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Run all checks, slow ones last."""
    for name, look in CHECKS.items():
        try:
            yield from look(settings)
        except ShoalError as error:
            yield Finding(name, Health.BROKEN, str(error), error.hint)


def _software(settings: Settings) -> Iterator[Finding]:
    running = (
        f"Shoal {shoal.__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    yield Finding("software", Health.OK, running)
    yield _libraries("libraries", NEEDED, Health.BROKEN, "In a checkout: pip install '.[worker]'")
    yield _libraries(
        "gpu libraries", FOR_GPUS, Health.NOTE, "For SAM 3, in a checkout: pip install '.[sam3]'"
    )
    ffmpeg = f"FFmpeg {av.ffmpeg_version_info}"
    if "libx264" in av.codecs_available:
        yield Finding("video", Health.OK, f"{ffmpeg}, with H.264 encoder x264")
    else:
        yield Finding(
            "video",
            Health.BROKEN,
            f"{ffmpeg} has no encoder libx264",
            "Install av from PyPI; its wheels include it.",
        )


def _libraries(name: str, packages: tuple[str, ...], if_missing: Health, hint: str) -> Finding:
    found, missing = [], []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    detail = ", ".join(found)
    if missing:
        detail += f"{'; ' if found else ''}not installed: {', '.join(missing)}"
    return Finding(name, if_missing if missing else Health.OK, detail, hint if missing else "")


def _redis(settings: Settings) -> Iterator[Finding]:
    address = urlsplit(settings.redis_url)
    where = f"{address.hostname}:{address.port or 6379}"  # without the password
    try:
        connection = connect(settings)
    except ShoalError as error:
        if "redis_url" in settings.model_fields_set:
            raise
        hint = "Not needed for 'shoal up'; otherwise set SHOAL_REDIS_URL."
        yield Finding("queue", Health.NOTE, f"{error} ({where})", hint)
        return
    facts = connection.info()
    server = "Valkey" if "valkey_version" in facts else "Redis"
    release = facts.get("valkey_version") or facts.get("redis_version")
    connection.close()
    kept = bool(facts.get("aof_enabled"))
    yield Finding(
        "queue",
        Health.OK if kept else Health.NOTE,
        f"{server} {release} at {where}" + ("" if kept else ", without append-only file"),
        "" if kept else "Jobs are lost when it restarts: set 'appendonly yes'.",
    )


def _storage(settings: Settings) -> Iterator[Finding]:
    yield _disk("scratch", settings.work_dir)
    root = settings.results_root
    if root.startswith("file:"):
        yield _disk("results", Path(unquote(urlsplit(root).path)))
    else:
        yield _bucket(root, settings)
    for folder in settings.file_roots:
        if not folder.is_dir():
            hint = "Correct SHOAL_FILE_ROOTS."
            yield Finding("file roots", Health.BROKEN, f"the folder {folder} does not exist", hint)


def _disk(name: str, folder: Path) -> Finding:
    """A folder that is made when it is needed: whether it can be, and what room there is."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(
            name,
            Health.BROKEN,
            f"{there} is not writable: {error.strerror}",
            "Change its owner, or set SHOAL_WORK_DIR or SHOAL_RESULTS to another folder.",
        )
    low = free < LOW_DISK
    return Finding(
        name,
        Health.NOTE if low else Health.OK,
        f"{folder}, {formatting.size(free)} free",
        "A long video may need more." if low else "",
    )


def _bucket(root: str, settings: Settings) -> Finding:
    storage = storage_for(root, settings)
    probe = f"{root.rstrip('/')}/.shoal-doctor"
    with tempfile.NamedTemporaryFile() as file:
        storage.put(Path(file.name), probe, "text/plain")
    storage.delete(probe)
    return Finding("results", Health.OK, f"{root} is writable")


def _device(settings: Settings) -> Iterator[Finding]:
    try:
        import torch
    except ImportError:
        yield Finding(
            "device", Health.NOTE, "CPU; torch is not installed, which is required for GPUs"
        )
        return
    if obstacle := cuda.find_obstacle():
        health = Health.NOTE if settings.engine == "cpu" else Health.BROKEN
        yield Finding("device", health, str(obstacle), obstacle.hint)
        return
    if not torch.cuda.is_available():
        yield Finding("device", Health.NOTE, "CPU; there is no NVIDIA GPU", "SAM 3 is slow on one.")
        return
    found = cuda.device()
    free, total = torch.cuda.mem_get_info()
    yield Finding(
        "device",
        Health.OK,
        f"{found.name}, {formatting.size(free)} of {formatting.size(total)} free, driver "
        f"{cuda.driver() or 'unknown'}, CUDA {torch.version.cuda}; SAM 3 runs in "
        f"{str(found.dtype).removeprefix('torch.')} with {found.attention} attention",
    )


def _weights(settings: Settings) -> Iterator[Finding]:
    chosen = predictors.choose(settings.engine).engine
    for engine, where in predictors.weights_of(settings).items():
        obstacle = predictors.find_obstacle(engine)
        name = f"{engine} weights"
        if obstacle is None:
            yield Finding(name, Health.OK, where)
        else:
            health = Health.BROKEN if engine == chosen else Health.NOTE
            yield Finding(name, health, str(obstacle), obstacle.hint)


def _engine(settings: Settings) -> Iterator[Finding]:
    choice = predictors.choose(settings.engine)
    yield Finding("engine", Health.OK, f"{choice.engine}: {choice.reason}")
    if predictors.find_obstacle(choice.engine):
        return  # already reported
    start = time.perf_counter()
    try:
        predictor = predictors.load(choice.engine)
        loaded = time.perf_counter()
        _one_frame(predictor)
    except ShoalError:
        raise
    except Exception as error:
        raise as_gpu_error(error) from error
    now = time.perf_counter()
    took = f"loaded in {loaded - start:.1f} s, one frame took {now - loaded:.1f} s"
    yield Finding("one frame", Health.OK, f"{predictor.name} on {predictor.device}: {took}")


def _one_frame(predictor: Predictor) -> None:
    """Run one generated frame from ``open`` to the last result."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[HEIGHT // 4 : -HEIGHT // 4, WIDTH // 4 : -WIDTH // 4] = (200, 40, 40)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
    session = predictor.open(VideoInfo(WIDTH, HEIGHT, 25, 0.04, 1, "made up"), Query(("person",)))
    try:
        session.step([Frame(0, 0.0, frame, wanted=True)])
        session.finish()
    finally:
        session.close()


CHECKS: dict[str, Callable[[Settings], Iterator[Finding]]] = {
    "software": _software,
    "queue": _redis,
    "results": _storage,
    "device": _device,
    "weights": _weights,
    "one frame": _engine,
}


def show(findings: list[Finding]) -> None:
    """A table for people."""
    grid = Table(box=None, pad_edge=False, header_style="bold dim")
    grid.add_column("CHECK", no_wrap=True)
    grid.add_column("STATE")
    grid.add_column("RESULT", overflow="fold")
    for finding in findings:
        found = Text(output.printable(finding.detail))
        if finding.hint:
            found.append("\n" + output.printable(finding.hint), style="dim")
        grid.add_row(finding.name, Text(finding.health, style=STYLES[finding.health]), found)
    output.out.print(grid, soft_wrap=False)


def main() -> int:
    as_json = "--json" in sys.argv[1:]
    try:
        with output.err.status("Checking, and loading the engine"):
            findings = list(examine(get_settings()))
    except ShoalError as error:  # a setting
        output.show_error(error)
        return Exit.USAGE
    if as_json:
        output.print_json({"items": [asdict(finding) for finding in findings]})
    else:
        show(findings)
    broken = [finding.name for finding in findings if finding.health is Health.BROKEN]
    if broken and not as_json:
        output.err.print(Text(f"A worker cannot run here: {', '.join(broken)}", style="bold red"))
    return Exit.FAILED if broken else Exit.OK


if __name__ == "__main__":
    sys.exit(main())
