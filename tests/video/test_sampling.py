"""``sample_fps = "auto"``: decided once the length of the video is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shoal.cli.lengths import sampling_notice
from shoal.model.record import Progress
from tests import media
from tests.attempts import Job, Line
from tests.fakes import Fake
from worker.pipeline.forecast import Speed
from worker.video.sampling import sampling_of
from worker.video.source import open_source

FPS = 2


def job(tmp_path: Path, seconds: int, **options: object) -> Job:
    clip = tmp_path / "clip.mp4"
    media.write_video(clip, frames=seconds * FPS, fps=FPS)
    folder = tmp_path / "job"
    folder.mkdir()
    return Job(clip, folder, Fake, outputs=("masks",), **options)


def metadata(made: Job) -> dict[str, object]:
    done = made.attempt(Line())
    (name,) = (name for name in done.results if name.endswith("_metadata.json"))
    uri = done.summary["metadata"]
    assert uri.endswith(name)
    text = Path(uri.removeprefix("file://")).read_text()
    return {**json.loads(text), "summary": done.summary}


@pytest.mark.parametrize("asked", [{"sample_fps": "auto"}, {"sample_fps": 0}])
def test_all_frames_of_a_short_video(tmp_path: Path, asked: dict[str, object]) -> None:
    made = metadata(job(tmp_path, 10, **asked))
    assert made["frames_processed"] == 10 * FPS
    assert made["sampling"]["fps"] == 0  # type: ignore[index]
    assert made["summary"]["sampling"] == ""  # type: ignore[index]


def test_one_per_second_of_a_long_video_and_what_all_would_cost(tmp_path: Path) -> None:
    made = metadata(job(tmp_path, 70, sample_fps="auto"))
    assert made["frames_processed"] == 70
    assert made["sampling"]["fps"] == 1  # type: ignore[index]
    assert "longer than 60 s" in made["sampling"]["reason"]  # type: ignore[index]
    assert made["options"]["sample_fps"] == "auto"  # type: ignore[index]
    note = made["summary"]["sampling"]  # type: ignore[index]
    assert "70 frames of 140" in note
    assert "sample_fps 0" in note


class Listener(Line):
    """Keeps all reports."""

    def report(self, progress: Progress, *, now: bool = False) -> None:
        super().report(progress, now=now)
        self.reports = [*getattr(self, "reports", []), progress.model_copy(deep=True)]


def test_a_forecast_before_the_first_frame_is_tracked(tmp_path: Path) -> None:
    line = Listener()
    job(tmp_path, 70, sample_fps="auto").attempt(line)
    before = next(each for each in line.reports if each.stage == "process")
    assert (before.frames, before.frames_expected) == (0, 70)
    told = before.forecast
    assert (told.sampled_fps, told.all_frames, told.seconds) == (1, 70 * FPS, 0)
    assert "longer than 60 s" in told.reason


def test_a_forecast_by_the_speed_of_the_video_before(tmp_path: Path) -> None:
    line, speed = Listener(), Speed(fps=20)
    made = job(tmp_path, 70, sample_fps="auto")
    made.speed = speed
    made.attempt(line)
    told = next(each for each in line.reports if each.stage == "process").forecast
    assert (told.seconds, told.all_frames_s) == (3.5, 7.0)
    assert speed.fps == 20  # this one was too short to tell


def test_a_forecast_by_the_speed_of_this_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.pipeline.pace.LEAST_S", 1e-3)
    line, speed = Listener(), Speed()
    made = job(tmp_path, 70, sample_fps="auto", track_fps=2)
    made.speed = speed
    made.attempt(line)
    last = line.reports[-1]
    assert speed.fps > 0
    assert last.forecast.seconds > 0
    # Each frame is tracked, whether all are written or every second one.
    assert last.forecast.seconds == last.forecast.all_frames_s


def test_a_length_is_told_before_an_upload(tmp_path: Path) -> None:
    (tmp_path / "none.mp4").write_text("no video")
    media.write_video(tmp_path / "short.mp4", frames=20, fps=2)
    media.write_video(tmp_path / "long.mp4", frames=180, fps=2)
    said = sampling_notice(str(tmp_path / "long.mp4"))
    assert "about 90 of about 180 frames" in said
    assert "--sample-fps 0" in said
    for other in ("none.mp4", "short.mp4", "missing.mp4"):
        assert sampling_notice(str(tmp_path / other)) == ""
    assert sampling_notice((tmp_path / "long.mp4").as_uri()) == ""


def test_what_was_asked_for_is_taken(tmp_path: Path) -> None:
    made = metadata(job(tmp_path, 70, sample_fps=1))
    assert (made["frames_processed"], made["summary"]["sampling"]) == (70, "")  # type: ignore[index]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
@pytest.mark.parametrize(("seconds", "taken"), [(58, 58 * FPS), (63, 63)])
def test_the_container_tells_the_length(
    tmp_path: Path, suffix: str, seconds: int, taken: int
) -> None:
    path = tmp_path / f"a.{suffix}"
    media.write_video(
        path, frames=seconds * FPS, fps=FPS, codec="mpeg4" if suffix == "avi" else "libx264"
    )
    with open_source(path, sample_fps="auto") as source:
        assert len(list(source.frames())) == taken


def test_a_file_that_does_not_tell_its_length(tmp_path: Path) -> None:
    path = tmp_path / "a.h264"
    media.write_video(path, frames=20, fps=25)
    with open_source(path, sample_fps="auto") as source:
        assert sampling_of("auto", source.info) == source.sampling
        if not source.info.duration_s:
            assert source.sampling.fps == 1
            assert source.sampling.reason
