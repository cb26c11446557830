"""Rounds of a storm, one after the other, and what they come to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import clip
from shoal.results.layout import masks_name, overlay_name, result_name
from tests.attempts import Job
from tests.chaos.storm.evidence import Content, read_content
from tests.chaos.storm.plan import CLIPS, PROMPTS, draw
from tests.chaos.storm.proxy import Network
from tests.chaos.storm.round import Outcome, Round
from tests.chaos.storm.system import stores
from tests.chaos.storm.users import OPTIONS
from worker.engines import load

WIDTH, HEIGHT, RATE = 320, 136, 25
FRAMES = (40, 48, 56)  # of each clip; 8 of each second are processed
NAMES = ["api-1", "api-2", "worker-1", "worker-2", "worker-3"]


def write_clips(sample: Path, folder: Path) -> dict[int, Path]:
    """Tiny ones, of a street with objects."""
    paths = {number: folder / f"clip-{number}.mp4" for number in range(CLIPS)}
    for number, path in paths.items():
        clip.write(str(sample), str(path), FRAMES[number], WIDTH, HEIGHT, RATE)
    return paths


def undisturbed(clips: dict[int, Path], folder: Path) -> dict[tuple[int, tuple[str, ...]], Content]:
    """What each clip gives with each of the prompts."""
    predictor = load("cpu")
    found: dict[tuple[int, tuple[str, ...]], Content] = {}
    for number, path in clips.items():
        for which, prompts in enumerate(PROMPTS):
            place = folder / f"{number}-{which}"
            place.mkdir()
            job = Job(path, place, lambda: predictor, prompts, **OPTIONS)
            job.attempt()
            names = masks_name(job.spec), result_name(job.spec, "frames"), overlay_name(job.spec)
            found[number, prompts] = read_content(*(job.results / name for name in names))
    return found


def storm(
    folder: Path,
    sample: Path,
    seed: str,
    *,
    seconds: float,
    round_s: float,
    videos: int,
    names: Sequence[str] = NAMES,
    pace: float = 1.0,
) -> Iterator[Outcome]:
    """Rounds until ``seconds`` are over, at least one.

    Args:
        sample: a clip to cut others from.
        round_s: how long it storms in a round.
        videos: of a round.
        pace: of faults, see ``draw``.
    """
    began = time.monotonic()
    clips = write_clips(sample, folder)
    (folder / "undisturbed").mkdir()
    reference = undisturbed(clips, folder / "undisturbed")
    assert all(content.masks for content in reference.values()), "an undisturbed run finds nothing"
    with Network() as network, stores(network, folder) as found:
        number = 0
        while not number or time.monotonic() < began + seconds:
            plan = draw(seed, number, seconds=round_s, videos=videos, processes=names, pace=pace)
            place = folder / f"round-{number}"
            one = Round(plan, place, network, found, list(names))
            try:
                outcome = one.run(clips, reference)
            finally:
                one.system.stop()
            yield outcome
            if not outcome.violations:
                shutil.rmtree(place)
            number += 1
