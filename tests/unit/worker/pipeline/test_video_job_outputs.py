"""A job with outputs: what is published, and what the overlay's options do."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import shoal
from shoal.errors import Stopped
from shoal.model.outputs import KINDS
from shoal.results import formats
from shoal.results.layout import result_name
from tests import media
from tests.attempts import Job, Line
from tests.fakes import Fake
from tests.media import rgb, seconds
from worker.protocol import StopReason

FRAMES, FPS = 50, 25
NewJob = Callable[..., Job]
PICTURES = ("overlay", "webm-alpha", "crops")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds with a tone."""
    silent, path = tmp_path / "silent.mp4", tmp_path / "clip.mp4"
    media.write_video(silent, FRAMES, FPS)
    with av.open(str(silent)) as source, av.open(str(path), "w") as target:
        shown = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("aac", rate=48_000, layout="mono")
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = shown
                target.mux(packet)
        wave = np.sin(np.arange(2 * 48_000) * 0.06).astype(np.float32)
        for start in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(
                wave[None, start : start + 1024], format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
            target.mux(sound.encode(frame))
        target.mux(sound.encode())
    return path


@pytest.fixture
def new_job(clip: Path, tmp_path: Path) -> NewJob:
    def new(*outputs: Any, **options: Any) -> Job:
        folder = tmp_path / f"job-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Job(clip, folder, Fake, **{"sample_fps": 5} | options, outputs=outputs)

    return new


def done(job: Job) -> Job:
    job.attempt()
    return job


def path_of(job: Job, kind: str) -> Path:
    return job.results / result_name(job.spec, kind)


def pictures(job: Job) -> list[tuple[float, np.ndarray[Any, np.dtype[np.uint8]]]]:
    """Seconds and pixels (H, W, 3) of the overlay."""
    with av.open(str(path_of(job, "overlay"))) as container:
        return [(seconds(each), rgb(each)) for each in container.decode(video=0)]


def sound_s(job: Job) -> tuple[float, float] | None:
    """When the overlay's sound begins and ends."""
    with av.open(str(path_of(job, "overlay"))) as container:
        if not container.streams.audio:
            return None
        frames = list(container.decode(audio=0))
        return seconds(frames[0]), seconds(frames[-1]) + frames[-1].samples / frames[-1].sample_rate


# --- what is published ---------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_every_kind_at_once(new_job: NewJob, tmp_path: Path, direction: str) -> None:
    kinds = [kind for kind in KINDS if kind != "redact"]
    job = done(new_job(*kinds, direction=direction))
    expected = [*kinds, "frames", "summary", "crops-sheet", "metadata"]
    names = {result_name(job.spec, kind) for kind in expected}
    assert {path.name for path in job.results.iterdir()} == names
    outputs = job.metadata()["outputs"]
    assert sorted(outputs) == sorted(expected)
    assert set(job.metadata()["timings"]) >= set(kinds)
    read = shoal.read(job.results)
    for kind in formats.FORMATS:
        ours = read.export(kind, tmp_path / "exported").read_bytes()
        assert ours == path_of(job, kind).read_bytes(), kind


def test_no_more_is_written_than_is_asked_for(new_job: NewJob) -> None:
    job = done(new_job("mot"))
    kinds = ("masks", "frames", "summary", "mot", "metadata")
    assert sorted(path.name for path in job.results.iterdir()) == sorted(
        result_name(job.spec, kind) for kind in kinds
    )
    assert sorted(job.metadata()["outputs"]) == sorted(kinds)


def test_frames_without_objects_are_known(new_job: NewJob) -> None:
    read = shoal.read(done(new_job("coco")).results)
    assert read.frames.tolist() == list(range(0, FRAMES, 5))


# --- the overlay's options -----------------------------------------------------------------------


def test_the_overlay_keeps_the_sound(new_job: NewJob) -> None:
    for overlay in ("overlay", {"kind": "overlay", "rate": "original"}):
        start, end = sound_s(done(new_job(overlay))) or (9, 9)
        assert start == pytest.approx(0, abs=0.05)
        assert end == pytest.approx(FRAMES / FPS, abs=0.25)
    assert sound_s(done(new_job({"kind": "overlay", "audio": False}))) is None


def test_the_sound_is_cut_to_the_pictures(new_job: NewJob) -> None:
    job = done(new_job("overlay", start_frame=25))
    start, end = sound_s(job) or (0, 0)
    assert start == pytest.approx(1, abs=0.05)
    assert end == pytest.approx(2, abs=0.25)
    assert pictures(job)[0][0] == pytest.approx(1)


def test_original_rate_shows_every_frame(new_job: NewJob) -> None:
    plain = {"kind": "overlay", "labels": False}  # the numbers in the pictures stay free
    sampled, every = done(new_job(plain)), done(new_job(plain | {"rate": "original"}))
    assert len(pictures(sampled)) == 10
    times, shown = zip(*pictures(every), strict=True)
    assert times == pytest.approx([number / FPS for number in range(FRAMES)])
    with av.open(str(path_of(every, "overlay"))) as container:
        decoded = [media.picture_number(each) for each in container.decode(video=0)]
    assert decoded == list(range(FRAMES))
    for (_, there), here in zip(pictures(sampled), shown[::5], strict=True):
        assert np.abs(there.astype(int) - here).mean() < 3


@pytest.mark.parametrize(
    ("options", "last"),
    [({"max_frames": 4}, 15), ({"start_frame": 20, "direction": "backward"}, 20)],
)
def test_original_rate_ends_where_tracking_ended(
    new_job: NewJob, options: dict[str, Any], last: int
) -> None:
    job = done(new_job({"kind": "overlay", "rate": "original"}, **options))
    assert [round(time_s * FPS) for time_s, _ in pictures(job)] == list(range(last + 1))


def test_what_is_drawn(new_job: NewJob) -> None:
    """At 1.8 s the square of 'person' has come to (45, 20), ten pixels wide."""

    def shown(**options: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
        found = pictures(done(new_job({"kind": "overlay", "labels": False} | options)))
        return found[9][1].astype(np.int64)

    plain = shown(opacity=0)
    solid = shown(opacity=1, colours={"person": "#00ff00"})
    inside = (slice(23, 27), slice(48, 52))
    assert solid[inside].mean(axis=(0, 1)) == pytest.approx((0, 255, 0), abs=40)
    assert np.abs(plain[inside] - solid[inside]).mean() > 30
    elsewhere = (slice(60, 100), slice(60, 150))
    assert np.abs(plain[elsewhere] - solid[elsewhere]).mean() < 6
    trails = shown(opacity=0, trails=True, colours={"person": "#ff0000"})
    behind = (slice(24, 26), slice(12, 40))  # where the centre was
    assert (trails[behind] - plain[behind])[..., 0].mean() > 20
    labels = shown(opacity=0, labels=True)
    assert np.abs(labels - plain).mean() > np.abs(shown(opacity=0, boxes=True) - plain).mean()


def test_a_job_that_must_go_stops_rendering(new_job: NewJob) -> None:
    class Impatient(Line):
        def report(self, progress: Any, *, now: bool = False) -> None:
            super().report(progress, now=now)
            if progress.stage == "render" and progress.frames > 3:
                self.why = StopReason.PREEMPTED

    job = new_job("webm-alpha", {"kind": "overlay", "rate": "original"})
    with pytest.raises(Stopped):
        job.attempt(Impatient())
    assert not job.results.exists()
    straight = done(new_job("webm-alpha", {"kind": "overlay", "rate": "original"}))
    done(job)
    for kind in ("webm-alpha", "overlay"):
        assert path_of(job, kind).read_bytes() == path_of(straight, kind).read_bytes()
