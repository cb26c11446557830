"""What attempts leave for the next one: what is trusted, what is not, and what stays behind."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import CheckpointUnusable, Stopped, StorageUnavailable
from shoal.results.layout import metadata_name
from shoal.storage.files import FileStorage
from tests import media
from tests.attempts import Job, Line
from tests.fakes import Counting, CountingSession
from worker.engines.base import Predictor
from worker.pipeline.checkpoint import VERSION, Origin, decode
from worker.protocol import StopReason
from worker.video.frame import Frame, VideoInfo

FRAMES = 60


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    media.write_video(tmp_path / "clip.mp4", frames=FRAMES)
    return tmp_path / "clip.mp4"


@pytest.fixture
def job(clip: Path, tmp_path: Path) -> Job:
    (tmp_path / "data").mkdir()
    return Job(clip, tmp_path / "data", Counting)


@pytest.fixture
def straight(clip: Path, tmp_path: Path) -> Job:
    """The same job, done without an interruption."""
    (tmp_path / "straight").mkdir()
    job = Job(clip, tmp_path / "straight", Counting)
    job.attempt()
    return job


def interrupt(job: Job, *cuts: int) -> None:
    """Attempts that are preempted as soon as these numbers of frames are written."""
    for frames in cuts:
        with pytest.raises(Stopped):
            job.attempt(Line(stop_at=frames))


def complete(job: Job) -> Line:
    line = Line()
    job.attempt(line)
    return line


def pair(
    clip: Path, folder: Path, load: Callable[[], Predictor], **options: Any
) -> tuple[Job, Job]:
    """The same job twice."""
    for name in ("one", "two"):
        (folder / name).mkdir()
    return Job(clip, folder / "one", load, **options), Job(clip, folder / "two", load, **options)


def assert_same(job: Job, straight: Job) -> None:
    assert job.rows() == straight.rows()
    assert job.overlay_times() == straight.overlay_times()


# --- the way it goes -----------------------------------------------------------------------------


def test_an_interrupted_video_ends_as_a_straight_one(job: Job, straight: Job) -> None:
    interrupt(job, 1, 13, 14, 40)
    line = complete(job)
    assert line.named("resumed") == [{"part": 4, "frame": 39}]
    assert_same(job, straight)
    assert not job.parts
    alone, continued = straight.metadata(), job.metadata()
    assert (alone["parts"], alone["resumed"]) == (1, 0)
    assert (continued["parts"], continued["resumed"]) == (5, 4)
    for key in ("frames_processed", "objects_per_prompt", "output_fps"):
        assert continued[key] == alone[key]
    assert continued["video"] == alone["video"]
    assert continued["timings"].keys() == alone["timings"].keys() | {"resume"}


@pytest.mark.slow
@pytest.mark.parametrize("cut", range(1, FRAMES - Counting.LAG, 7))
def test_at_whatever_frame_it_is_cut(job: Job, straight: Job, cut: int) -> None:
    interrupt(job, cut)
    complete(job)
    assert_same(job, straight)


@pytest.mark.slow
def test_parts_are_saved_as_time_goes_by(clip: Path, tmp_path: Path, straight: Job) -> None:
    (tmp_path / "data").mkdir()
    job = Job(clip, tmp_path / "data", Counting, part_s=1e-9)  # every frame
    line = complete(job)
    parts = line.named("part")
    assert [part["number"] for part in parts] == list(range(1, len(parts) + 1))
    assert parts[-1]["frames"] == FRAMES - 1 - Counting.LAG
    assert job.metadata()["parts"] == len(parts) + 1
    assert_same(job, straight)


def test_a_part_may_be_without_frames(clip: Path, tmp_path: Path) -> None:
    """One frame in 2 s is written, and the worker must go a second after the first."""

    class Tracking(Counting):
        def tracking_fps(self, video: VideoInfo) -> float:
            return 25.0

    class Leaving(Tracking):
        def before_frame(self, frame: Frame) -> None:
            if frame.index == 25:
                line.why = StopReason.PREEMPTED

    line = Line()
    straight, job = pair(clip, tmp_path, Tracking, sample_fps=0.5)
    straight.attempt()
    interrupt(job, 1)
    job.load = Leaving
    with pytest.raises(Stopped):
        job.attempt(line)
    assert line.named("part") == [{"number": 2, "frames": 1}]
    assert "00002-a2.state" in job.parts
    assert "00002-a2.overlay.mp4" not in job.parts
    job.load = Tracking
    complete(job)
    assert_same(job, straight)
    assert job.overlay_times() == [0.0, 2.0]


def test_a_stop_right_after_a_part_saves_nothing_twice(job: Job, straight: Job) -> None:
    interrupt(job, 20)
    line = Line(why=StopReason.PREEMPTED)
    with pytest.raises(Stopped):
        job.attempt(line)
    assert not line.events  # stopped before the first frame
    complete(job)
    assert_same(job, straight)


def test_only_the_last_states_are_kept(job: Job) -> None:
    interrupt(job, 10, 20, 30, 40)
    states = [name for name in job.parts if name.endswith(".state")]
    assert states == ["00003-a3.state", "00004-a4.state"]
    assert len([name for name in job.parts if name.endswith(".mp4")]) == 4


def test_frames_that_are_only_sampled_are_the_same_ones(clip: Path, tmp_path: Path) -> None:
    class Tracking(Counting):
        def tracking_fps(self, video: VideoInfo) -> float:
            return 15.0

    straight, job = pair(clip, tmp_path, Tracking, sample_fps=4, max_frames=9)
    straight.attempt()
    interrupt(job, 1, 2, 5, 8)
    complete(job)
    assert_same(job, straight)
    assert job.metadata()["frames_processed"] == 9
    assert job.metadata()["video"] == straight.metadata()["video"]


# --- what is not trusted -------------------------------------------------------------------------


def resumed_part(line: Line) -> int:
    """The part after which an attempt went on; 0 if it started over."""
    return line.named("resumed")[0]["part"] if line.named("resumed") else 0


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [Path.unlink, cut_off, change_a_byte])
@pytest.mark.parametrize("kind", ["state", "overlay.mp4", "masks.parquet"])
def test_a_damaged_part_is_redone(
    job: Job, straight: Job, kind: str, damage: Callable[[Path], None]
) -> None:
    interrupt(job, 20, 40)
    damage(job.parts[f"00002-a2.{kind}"])
    assert resumed_part(complete(job)) == 1
    assert_same(job, straight)
    assert not job.parts


def test_a_part_is_worth_nothing_without_those_before(job: Job, straight: Job) -> None:
    interrupt(job, 20, 40)
    change_a_byte(job.parts["00001-a1.masks.parquet"])
    assert resumed_part(complete(job)) == 0
    assert_same(job, straight)


def test_a_worker_that_dies_between_files_and_state(
    job: Job, straight: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(job, 20)

    def refuse(storage: FileStorage, path: Path, uri: str, content_type: str) -> None:
        if uri.endswith(".state"):
            raise StorageUnavailable("cut off")
        put(storage, path, uri, content_type)

    put = FileStorage.put
    with monkeypatch.context() as patch:
        patch.setattr(FileStorage, "put", refuse)
        with pytest.raises(StorageUnavailable):
            job.attempt(Line(stop_at=40))
    assert "00002-a2.overlay.mp4" in job.parts
    assert resumed_part(complete(job)) == 1
    assert_same(job, straight)


def test_a_late_state_of_a_stale_worker_harms_nobody(
    job: Job, straight: Job, tmp_path: Path
) -> None:
    """It was frozen between leave and upload; meanwhile another went on from the part before."""
    interrupt(job, 20, 40)
    late = {name: path.read_bytes() for name, path in job.parts.items() if "-a2." in name}
    for name in late:
        job.parts[name].unlink()
    interrupt(job, 30)
    folder = job.parts["00001-a1.state"].parent
    for name, content in late.items():
        (folder / name).write_bytes(content)
    assert {name for name in job.parts if name.endswith(".state")} == {
        "00001-a1.state",
        "00002-a2.state",
        "00002-a3.state",
    }
    assert complete(job).named("resumed") == [{"part": 2, "frame": 29}]
    assert_same(job, straight)


@pytest.mark.parametrize("change", ["version", "engine", "library"])
def test_what_another_version_left_is_not_continued(
    job: Job,
    straight: Job,
    change: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    interrupt(job, 20)
    if change == "version":
        monkeypatch.setattr(Origin.model_fields["version"], "default", VERSION + 1)
        Origin.model_rebuild(force=True)
    elif change == "engine":
        monkeypatch.setattr(Counting, "name", "other")
    else:
        monkeypatch.setattr("av.__version__", "1.0")
    try:
        with caplog.at_level(logging.WARNING):
            assert resumed_part(complete(job)) == 0
    finally:
        monkeypatch.undo()
        Origin.model_rebuild(force=True)
    assert "ignoring checkpoint 00001-a1.state" in caplog.text
    assert_same(job, straight)


def test_prompts_in_another_order_are_not_continued(job: Job) -> None:
    """They are another job: its categories and colours are others."""
    interrupt(job, 20)
    before = job.spec.id
    job.spec = job.spec.model_copy(update={"prompts": job.spec.prompts[::-1]})
    assert job.spec.id != before
    assert resumed_part(complete(job)) == 0


def test_a_session_that_cannot_be_restored_starts_over(
    job: Job, straight: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    interrupt(job, 20, 40)
    monkeypatch.setattr(CountingSession, "VERSION", 2)
    with caplog.at_level(logging.WARNING):
        interrupt(job, 10)
    assert "starts over: a state of another version" in caplog.text
    assert {name.partition(".")[0] for name in job.parts} == {"00001-a3"}
    line = complete(job)
    assert resumed_part(line) == 1
    assert job.metadata()["resumed"] == 1
    assert_same(job, straight)


def test_a_state_is_checked_as_a_whole(job: Job) -> None:
    interrupt(job, 20)
    data = job.parts["00001-a1.state"].read_bytes()
    origin = Origin(job_id="x", prompts=("a",), made_by={})
    with pytest.raises(CheckpointUnusable, match="corrupt"):
        decode(b"", origin)
    with pytest.raises(CheckpointUnusable, match="corrupt"):
        decode(data[1:], origin)
    with pytest.raises(CheckpointUnusable, match="job_id"):
        decode(data, origin)
    other = b"{}\n"
    digest = hashlib.sha256(other).hexdigest().encode()
    with pytest.raises(CheckpointUnusable, match="another version"):
        decode(digest + b"\n" + other, origin)


# --- the fence, and what stays behind ------------------------------------------------------------


def test_nothing_is_committed_without_the_lease(job: Job) -> None:
    interrupt(job, 20)
    before = set(job.parts)
    with pytest.raises(Stopped):
        job.attempt(Line(stop_at=40, lost_at=1))
    new = set(job.parts) - before
    pieces = ("overlay.mp4", "masks.parquet", "frames.parquet")
    assert new == {f"00002-a2.{piece}" for piece in pieces}  # no state: not there
    assert not job.results.exists()


@pytest.mark.parametrize(("lost_at", "published"), [(1, 0), (2, 1), (3, 2)])
def test_nothing_is_published_without_the_lease(job: Job, lost_at: int, published: int) -> None:
    """It is asked before each file; the metadata, which makes the others count, is the last."""
    interrupt(job, 20)
    with pytest.raises(Stopped):
        job.attempt(Line(lost_at=lost_at))
    found = list(job.results.iterdir()) if job.results.exists() else []
    assert len(found) == published
    assert not any(path.name == metadata_name(job.spec) for path in found)
    assert "00001-a1.state" in job.parts  # whoever has the lease may need it


def test_a_preemption_while_publishing_is_not_heeded(job: Job) -> None:
    line = Line(stop_at=FRAMES)
    job.attempt(line)
    assert line.why is StopReason.PREEMPTED
    assert job.metadata()["frames_processed"] == FRAMES


@pytest.mark.parametrize("reason", [StopReason.CANCELLED, StopReason.TIMEOUT])
def test_an_unwanted_video_saves_nothing(job: Job, reason: StopReason) -> None:
    """Nor does it remove anything: that is its parent's, once the record says so."""
    interrupt(job, 20)
    line = Line(stop_at=40, reason=reason)
    with pytest.raises(Stopped):
        job.attempt(line)
    assert not line.named("part")
    assert "00001-a1.state" in job.parts
    assert not job.results.exists()


def test_parts_that_cannot_be_removed_do_not_spoil_a_published_video(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(storage: FileStorage, uri: str) -> None:
        raise StorageUnavailable("not now")

    interrupt(job, 20)
    monkeypatch.setattr(FileStorage, "delete", refuse)
    complete(job)
    assert job.metadata()["parts"] == 2
    assert "could not delete the parts in" in caplog.text
    assert caplog.text.count("not now")


def test_one_part_is_published_as_it_is(job: Job) -> None:
    complete(job)
    assert not list(job.folder.glob("work-1/masks.parquet"))  # the piece itself
    assert job.metadata()["parts"] == 1
    assert len(job.overlay_times()) == FRAMES
