"""Backward and both ways on SAM3, against transformers' own reverse propagation in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import Stopped
from tests.attempts import Job, Line
from tests.sam3 import stock, videos
from worker.engines.base import Query
from worker.engines.sam3.predictor import Sam3Predictor
from worker.outputs import reversed as sinks_reversed
from worker.video import reverse

FRAMES = 14
# Transformers reconditions on every fourth frame of the video, the engine on every fourth that it
# has seen: from here back those are the same.
START = 12
CLIP_FRAMES, CLIP_START = 56, 28
PROMPTS = ("a", "bc", "dog")


@pytest.mark.parametrize(("checkpoint", "prompts"), [("plain", 1), ("reconditioning", 3)])
def test_backward_ids_prompts_and_masks_are_those_of_transformers(
    checkpoint: str, prompts: int, request: pytest.FixtureRequest
) -> None:
    weights: Path = request.getfixturevalue(checkpoint)
    frames = videos.make(FRAMES)
    reference = stock.run(
        weights,
        frames,
        PROMPTS[:prompts],
        mended=True,
        all_pointers=False,
        backward_from=START,
    )
    session = Sam3Predictor(str(weights), lookahead=4).open(videos.INFO, Query(PROMPTS[:prompts]))
    results = videos.track(session, frames[START::-1])
    assert [result.index for result in results] == list(range(START, -1, -1))
    assert videos.shown(results) == [
        {i + 1: (prompt, mask.tobytes()) for i, (prompt, mask) in frame.masks.items()}
        for frame in reference
    ]
    assert any(frame.removed or frame.reconditioned for frame in reference)
    assert all(frame.masks for frame in reference)


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The discs as a file, read and written in small pieces."""
    videos.write(tmp_path / "clip.mp4", CLIP_FRAMES)
    frame_bytes = videos.INFO.frame_bytes
    monkeypatch.setattr(reverse, "WINDOW_BYTES", 7 * frame_bytes)
    monkeypatch.setattr(sinks_reversed, "PIECE_BYTES", 10 * frame_bytes)
    return tmp_path / "clip.mp4"


@pytest.fixture
def new_job(clip: Path, tmp_path: Path, plain: Path) -> Callable[..., Job]:
    predictor = Sam3Predictor(str(plain), lookahead=4)

    def new(name: str, **options: Any) -> Job:
        (tmp_path / name).mkdir()
        return Job(clip, tmp_path / name, lambda: predictor, PROMPTS[:2], **options)

    return new


@pytest.mark.parametrize(
    ("options", "cuts"),
    [
        ({"direction": "backward"}, (2, 15)),
        ({"direction": "both", "start_frame": CLIP_START}, (2, CLIP_FRAMES - CLIP_START + 2)),
    ],
    ids=["backward", "both"],
)
def test_an_interrupted_run_equals_a_straight_one(
    new_job: Callable[..., Job], options: dict[str, Any], cuts: tuple[int, ...]
) -> None:
    """Results are owed at each cut: those of 18 frames at most."""
    straight, job = new_job("straight", **options), new_job("interrupted", **options)
    straight.attempt()
    for cut in cuts:
        with pytest.raises(Stopped):
            job.attempt(Line(stop_at=cut))
    job.attempt()
    assert job.metadata()["resumed"] == 2
    assert len(straight.rows()) > CLIP_FRAMES
    assert job.rows() == straight.rows()
    assert job.overlay_times() == straight.overlay_times()
    assert len(job.overlay_times()) == CLIP_FRAMES


def test_tracks_keep_their_ids_over_the_start_frame(new_job: Callable[..., Job]) -> None:
    """Each half is what a run in that direction alone gives, but for the ids of the second."""
    start = CLIP_START
    jobs = {
        direction: new_job(direction, direction=direction, start_frame=start)
        for direction in ("both", "forward", "backward")
    }
    for job in jobs.values():
        job.attempt()
    rows = {direction: job.rows() for direction, job in jobs.items()}
    assert [row for row in rows["both"] if row["frame"] >= start] == rows["forward"]
    earlier = [row for row in rows["both"] if row["frame"] < start]
    alone = [row for row in rows["backward"] if row["frame"] < start]
    assert [without_id(row) for row in earlier] == [without_id(row) for row in alone]
    at_start = {row["rle"]: row["object_id"] for row in rows["forward"] if row["frame"] == start}
    theirs = {row["rle"]: row["object_id"] for row in rows["backward"] if row["frame"] == start}
    same = {theirs[rle]: at_start[rle] for rle in theirs.keys() & at_start.keys()}
    assert same, "objects are known on the start frame"
    highest = max(row["object_id"] for row in rows["forward"])
    for ours, raw in zip(earlier, alone, strict=True):
        if raw["object_id"] in same:
            assert ours["object_id"] == same[raw["object_id"]]
        else:
            assert ours["object_id"] > highest


def without_id(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "object_id"}
