"""Jobs that go through their video backward, from the middle, or both ways."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.errors import StartFrameNotFound, Stopped
from shoal.model.prompts import Removal
from tests import media
from tests.attempts import Job, Line
from tests.fakes import Counting, Fake, FakeSession
from worker.engines.base import FrameResult, Mask, ObjectResult, Predictor, Query
from worker.outputs import reversed as sinks_reversed
from worker.video import reverse
from worker.video.frame import Frame, VideoInfo

FRAMES = 60
START = 24
FRAME_BYTES = 160 * 120 * 3 // 2
NewJob = Callable[..., Job]


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 7 frames for reading, pieces of 5 for writing."""
    monkeypatch.setattr(reverse, "WINDOW_BYTES", 7 * FRAME_BYTES)
    monkeypatch.setattr(sinks_reversed, "PIECE_BYTES", 5 * (FRAME_BYTES + 100))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    media.write_video(tmp_path / "clip.mp4", frames=FRAMES)
    return tmp_path / "clip.mp4"


@pytest.fixture
def new_job(clip: Path, tmp_path: Path) -> NewJob:
    count = 0

    def new(load: Callable[[], Predictor] = Counting, video: Path = clip, **options: Any) -> Job:
        nonlocal count
        count += 1
        folder = tmp_path / f"job-{count}"
        folder.mkdir()
        return Job(video, folder, load, **options)

    return new


def answers(job: Job) -> dict[int, int]:
    """Frame -> how many frames the session had seen with it; in the order of the rows."""
    return {row["frame"]: round(row["score"] * 1000) for row in job.rows()}


def seen_backward(start: int) -> dict[int, int]:
    return {frame: start - frame + 1 for frame in range(start + 1)}


def seen_forward(start: int) -> dict[int, int]:
    return {frame: frame - start + 1 for frame in range(start, FRAMES)}


# --- the order of frames -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"start_frame": START}, seen_forward(START)),
        ({"direction": "backward"}, seen_backward(FRAMES - 1)),
        ({"direction": "backward", "start_frame": START}, seen_backward(START)),
        ({"direction": "backward", "start_frame": 0}, {0: 1}),
        ({"direction": "both", "start_frame": 0}, seen_forward(0)),
        (
            {"direction": "both", "start_frame": START},
            seen_backward(START) | seen_forward(START),
        ),
        (
            {"direction": "both", "start_frame": FRAMES - 1},
            seen_backward(FRAMES - 1),
        ),
    ],
    ids=str,
)
def test_frames_are_tracked_in_their_direction_and_written_in_order(
    new_job: NewJob, options: dict[str, Any], expected: dict[int, int]
) -> None:
    whole, job = new_job(), new_job(**options)
    whole.attempt()
    job.attempt()
    assert list(answers(job).items()) == list(expected.items())
    time_of = {row["frame"]: row["time_s"] for row in whole.rows()}
    assert [row["time_s"] for row in job.rows()] == [time_of[frame] for frame in expected]
    assert job.overlay_times() == [whole.overlay_times()[frame] for frame in expected]
    metadata = job.metadata()
    assert metadata["frames_processed"] == len(expected)
    assert metadata["output_fps"] == (25 if len(expected) > 1 else 0)
    assert {key: metadata["options"][key] for key in options} == options
    assert not job.parts


def test_of_a_backward_run_all_of_the_source_is_known(new_job: NewJob) -> None:
    whole, job = new_job(), new_job(direction="backward")
    whole.attempt()
    job.attempt()
    assert job.metadata()["video"] == whole.metadata()["video"]


def test_the_frames_written_are_those_of_a_forward_run(new_job: NewJob) -> None:
    class Tracking(Counting):
        def tracking_fps(self, video: VideoInfo) -> float:
            return 12.5

    whole, backward = (
        new_job(Tracking, sample_fps=5, direction=d) for d in ("forward", "backward")
    )
    both = new_job(Tracking, sample_fps=5, direction="both", start_frame=23)
    for job in (whole, backward, both):
        job.attempt()
    assert [row["frame"] for row in backward.rows()] == [row["frame"] for row in whole.rows()]
    frames = {row["frame"] for row in whole.rows()}
    assert [row["frame"] for row in both.rows()] == sorted(frames | {23})
    assert both.overlay_times() == [row["time_s"] for row in both.rows()]


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ({"direction": "backward", "max_frames": 9}, range(51, 60)),
        ({"direction": "backward", "start_frame": 7, "max_frames": 9}, range(8)),
        ({"start_frame": START, "max_frames": 9}, range(START, START + 9)),
        ({"direction": "both", "start_frame": 50, "max_frames": 9}, range(50, 59)),
        ({"direction": "both", "start_frame": 50, "max_frames": 10}, range(50, 60)),
        ({"direction": "both", "start_frame": 50, "max_frames": 14}, range(46, 60)),
    ],
    ids=str,
)
def test_a_limit_counts_in_the_order_of_tracking(
    new_job: NewJob, options: dict[str, Any], frames: range
) -> None:
    job = new_job(**options)
    job.attempt()
    assert [row["frame"] for row in job.rows()] == list(frames)
    again = new_job(**options)
    interrupt(again, len(frames) // 2)
    again.attempt()
    assert_same(again, job)


@pytest.mark.parametrize("name", ["folder", "frames.tar"])
@pytest.mark.parametrize("direction", ["backward", "both"])
def test_pictures(new_job: NewJob, tmp_path: Path, name: str, direction: str) -> None:
    write = media.write_folder if name == "folder" else media.write_frames_tar
    write(tmp_path / name, 30)
    job = new_job(video=tmp_path / name, direction=direction, start_frame=12)
    job.attempt()
    last = 12 if direction == "backward" else 29
    assert [row["frame"] for row in job.rows()] == list(range(last + 1))


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_a_start_beyond_the_end_is_named(new_job: NewJob, direction: str) -> None:
    job = new_job(direction=direction, start_frame=FRAMES)
    with pytest.raises(StartFrameNotFound, match="frame 60, the last one is 59") as caught:
        job.attempt()
    assert "sample_fps" in caught.value.hint
    assert not job.results.exists()


# --- ids over the seam ---------------------------------------------------------------------------


class Squares(Fake):
    """A square at each place, shown on some frames; ids in the order in which they are seen."""

    SHOWN = ((0, 59), (20, 40), (30, 59), (0, 10), (START, START), (0, START - 1))  # first, last

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> SquaresSession:
        self.sessions_open += 1
        return SquaresSession(self, query, state)


class SquaresSession(FakeSession):
    """Results lag behind."""

    def __init__(self, predictor: Fake, query: Query, state: bytes | None) -> None:
        super().__init__(predictor, query)
        self.places, self.owed = json.loads(state) if state else ([], [])  # places by id

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        for frame in frames:
            here = [n for n, (a, b) in enumerate(Squares.SHOWN) if a <= frame.index <= b]
            self.places += [place for place in here if place not in self.places]
            self.owed.append((frame.index, here))
        return self._answer(max(0, len(self.owed) - 3))

    def finish(self) -> list[FrameResult]:
        return self._answer(len(self.owed))

    def _answer(self, count: int) -> list[FrameResult]:
        due, self.owed = self.owed[:count], self.owed[count:]
        return [FrameResult(index, [self._square(place) for place in here]) for index, here in due]

    def _square(self, place: int) -> ObjectResult:
        x, prompt = 20 * place, self.prompts[place % 2]
        mask = Mask(x, 0, np.ones((10, 10), np.uint8))
        return ObjectResult(1 + self.places.index(place), prompt, 1.0, (x, 0, x + 10, 10), mask)

    def state(self) -> bytes:
        return json.dumps([self.places, self.owed]).encode()


def tracks(job: Job) -> dict[int, list[tuple[int, int]]]:
    """Place -> (first frame, id) of each of its tracks."""
    found: dict[int, list[tuple[int, int]]] = {}
    last: dict[int, int] = {}
    for row in job.rows():
        place = round(row["box_x0"] / 20)
        if last.get(place) != row["object_id"]:
            found.setdefault(place, []).append((row["frame"], row["object_id"]))
        last[place] = row["object_id"]
    return found


def test_tracks_keep_their_ids_over_the_start_and_no_id_is_given_twice(new_job: NewJob) -> None:
    job = new_job(Squares, direction="both", start_frame=START)
    job.attempt()
    assert tracks(job) == {
        0: [(0, 1)],
        1: [(20, 2)],
        4: [(START, 3)],
        2: [(30, 4)],
        5: [(0, 8)],  # the fourth of the backward pass
        3: [(0, 9)],
    }
    assert job.metadata()["objects_detected"] == 6


def test_removed_objects_are_those_of_the_results_and_no_other_id_changes(new_job: NewJob) -> None:
    removals = Removal(object_id=1), Removal(object_id=8), Removal(object_id=2, frame=START)
    whole, job = (
        new_job(Squares, direction="both", start_frame=START, remove_objects=each)
        for each in ((), removals)
    )
    whole.attempt()
    job.attempt()
    left_out = {(row["object_id"], row["frame"]) for row in whole.rows()}
    left_out -= {(row["object_id"], row["frame"]) for row in job.rows()}
    assert {object_id for object_id, _ in left_out} == {1, 2, 8}
    assert {frame for object_id, frame in left_out if object_id == 2} == set(range(START, 41))
    assert job.metadata()["objects_detected"] == 4


@pytest.mark.slow
def test_ids_of_a_run_both_ways_survive_interruptions(new_job: NewJob) -> None:
    straight = new_job(Squares, direction="both", start_frame=START)
    straight.attempt()
    for cut in range(1, 57, 5):
        job = new_job(Squares, direction="both", start_frame=START)
        interrupt(job, cut)
        job.attempt()
        assert_same(job, straight)


# --- interruptions -------------------------------------------------------------------------------


def interrupt(job: Job, *cuts: int) -> None:
    """Attempts that are preempted as soon as these numbers of frames are written."""
    for frames in cuts:
        with pytest.raises(Stopped):
            job.attempt(Line(stop_at=frames))


def assert_same(job: Job, straight: Job) -> None:
    assert job.rows() == straight.rows()
    assert job.overlay_times() == straight.overlay_times()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"direction": "backward"},
        {"direction": "both", "start_frame": START},
        {"start_frame": START},
    ],
    ids=str,
)
def test_an_interrupted_run_equals_a_straight_one(new_job: NewJob, options: dict[str, Any]) -> None:
    """Cut within windows and at their ends, with results owed, and where the passes change."""
    straight = new_job(**options)
    straight.attempt()
    written = straight.metadata()["frames_processed"]
    for cut in range(1, written - Counting.LAG, 4):
        job = new_job(**options)
        interrupt(job, cut)
        line = Line()
        job.attempt(line)
        assert line.named("resumed"), cut
        assert_same(job, straight)
        assert not job.parts
    for key in ("frames_processed", "objects_per_prompt", "output_fps", "video"):
        assert job.metadata()[key] == straight.metadata()[key]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"direction": "backward"}, {"direction": "both", "start_frame": START}], ids=str
)
def test_many_interruptions_and_many_parts(new_job: NewJob, options: dict[str, Any]) -> None:
    straight, often = new_job(**options), new_job(**options)
    straight.attempt()
    interrupt(often, 3, 5, 11, 20, 30, 37, 45, 50)
    often.attempt()
    assert_same(often, straight)
    assert often.metadata()["resumed"] == 8
    parted = new_job(**options, part_s=1e-9)  # each frame is a part
    parted.attempt()
    assert_same(parted, straight)
    assert parted.metadata()["parts"] > 50


def test_no_frame_is_stepped_twice(
    new_job: NewJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_STEPS", str(tmp_path / "steps"))
    job = new_job(direction="both", start_frame=START)
    interrupt(job, 10, 40, 50)
    job.attempt()
    stepped = [int(line.split()[1]) for line in (tmp_path / "steps").read_text().splitlines()]
    assert stepped == [*range(START, FRAMES), *range(START, -1, -1)]


def test_a_stop_where_the_passes_change_is_no_loss(new_job: NewJob) -> None:
    straight, job = (new_job(direction="both", start_frame=START) for _ in range(2))
    straight.attempt()
    interrupt(job, FRAMES - START)  # the last frame of the forward pass
    line = Line()
    job.attempt(line)
    assert line.named("resumed") == [{"part": 1, "frame": START}]
    assert_same(job, straight)


@pytest.mark.slow
def test_a_long_survey_is_made_once(new_job: NewJob, monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaving(Counting):
        def before_frame(self, frame: Frame) -> None:
            raise ConnectionError("the worker is gone")

    straight, job = (
        new_job(direction="backward"),
        new_job(Leaving, direction="backward", part_s=1e-9),
    )
    straight.attempt()
    with pytest.raises(ConnectionError):
        job.attempt()
    assert list(job.parts) == ["00001-a1.state"]
    job.load = Counting
    monkeypatch.setattr("worker.pipeline.passes.survey", None)
    line = Line()
    job.attempt(line)
    assert line.named("resumed") == [{"part": 1, "frame": FRAMES - 1}]
    assert_same(job, straight)


def test_the_work_directory_holds_no_pieces(new_job: NewJob) -> None:
    job = new_job(direction="backward")
    interrupt(job, 30)
    names = {path.name for path in job.folder.glob("work-1/parts/*")}
    assert names == {"00001-a1.overlay.mp4", "00001-a1.masks.parquet", "00001-a1.frames.parquet"}
