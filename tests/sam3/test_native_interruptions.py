"""Meta's predictor behind our protocol: states, failures, and memory that runs out."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from shoal.errors import CheckpointUnusable, GpuError, GpuOutOfMemory, Stopped
from tests import media
from tests.attempts import Job, Line
from tests.sam3 import native_standin as standin, videos
from tests.sam3.native_scene import (
    EVERYTHING,
    FRAMES,
    HEIGHT,
    INFO,
    TEXTS,
    WIDTH,
    make,
    picture,
    shown,
    track,
)
from tests.sam3.native_standin import StandIn
from worker.engines.base import LongStep


@pytest.mark.parametrize("cut", [5, 15, 16, 17, 20, 28, 39])
def test_a_restored_session_continues_as_if_nothing_had_been(cut: int) -> None:
    """The frames whose results were owed are stepped again."""
    straight = shown(track(StandIn(), EVERYTHING))
    session = standin.predictor(StandIn()).open(INFO, EVERYTHING)
    results = [result for frame in make()[:cut] for result in session.step([frame])]
    state = session.state()
    session.close()
    session = standin.predictor(StandIn()).open(INFO, EVERYTHING, state)
    results += videos.track(session, make()[len(results) :])
    assert shown(results) == straight


def test_the_state_is_small_json_without_pictures() -> None:
    session = standin.predictor(StandIn()).open(INFO, TEXTS)
    for frame in make():
        session.step([frame])
    state = session.state()
    session.close()
    assert [index for index, _ in json.loads(state)["held"]] == [72, 74, 76, 78]
    assert len(state) < 6000, "20 masks"


def test_what_cannot_be_continued_is_refused() -> None:
    session = standin.predictor(StandIn()).open(INFO, TEXTS)
    for frame in make(20):
        session.step([frame])
    state = session.state()
    session.close()
    other = json.dumps({**json.loads(state), "version": 0}).encode()
    for unusable in (other, b"", b"{}", b"\x00"):
        with pytest.raises(CheckpointUnusable):
            standin.predictor(StandIn()).open(INFO, TEXTS, unusable)
    session = standin.predictor(StandIn()).open(INFO, TEXTS, state)
    with pytest.raises(CheckpointUnusable, match="again"):
        session.step(make(40)[20:])


def test_an_interrupted_job_equals_a_straight_one(tmp_path: Path) -> None:
    """Through the real pipeline: what is not settled when a part is saved is stepped again."""
    video = tmp_path / "squares.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", 25, {"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 2 * WIDTH, 2 * HEIGHT, "yuv420p"
        for t in range(FRAMES):
            doubled = picture(t).repeat(2, axis=0).repeat(2, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(doubled, format="rgb24")))
        container.mux(stream.encode())

    def job(name: str) -> Job:
        (tmp_path / name).mkdir()
        load = partial(standin.predictor, StandIn(), window=8)
        return Job(video, tmp_path / name, load, TEXTS.prompts)

    straight, interrupted = job("straight"), job("interrupted")
    straight.attempt()
    for cut in (1, 13, 18, 30):  # four frames are settled at a time
        with pytest.raises(Stopped):
            interrupted.attempt(Line(stop_at=cut))
    interrupted.attempt()
    assert interrupted.metadata()["resumed"] == 4
    assert len(straight.rows()) == 5 * FRAMES
    assert interrupted.rows() == straight.rows()
    assert interrupted.overlay_times() == straight.overlay_times()


@pytest.mark.parametrize("done", [0, 1, 17, 40])
def test_a_failure_in_the_middle_leaves_no_session_open(done: int) -> None:
    native = StandIn()
    native.fails_at = done, ZeroDivisionError()
    session = standin.predictor(native).open(INFO, EVERYTHING)
    with pytest.raises(ZeroDivisionError):
        videos.track(session, make())
    assert native.started
    assert not native.sessions
    track(native, TEXTS)  # the next video is not affected


def test_where_memory_runs_out_the_window_is_halved() -> None:
    native = StandIn()
    native.fails_at = 20, torch.OutOfMemoryError("simulated")
    results = track(native, TEXTS)
    assert native.started[0] == 16
    assert max(native.started[1:]) == 8
    assert shown(results) == shown(track(StandIn(), TEXTS))


def test_where_not_even_short_windows_fit_the_video_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: StandIn, state: standin.State, frame: int) -> None:
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(StandIn, "_propagate", fail)
    native = StandIn()
    with pytest.raises(GpuOutOfMemory, match="window of 8 frames"):
        track(native, TEXTS)
    assert native.started == [16, 8]
    assert not native.sessions


def test_every_frame_of_a_window_beats_and_may_be_the_last() -> None:
    """So a long window neither looks like a hang nor keeps a cancelled job."""
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 50:
            raise Stopped

    session = standin.predictor(native := StandIn()).open(INFO, TEXTS)
    assert isinstance(session, LongStep)
    session.on_beat = beat
    results = [result for frame in make()[:27] for result in session.step([frame])]
    assert beats == 1 + 2 * 16, "each window's frames, once for each text"
    state = session.state()
    with pytest.raises(Stopped):
        session.step(make()[27:28])
    assert session.state() == state, "that of the start of the window"
    session.close()
    assert not native.sessions
    session = standin.predictor(native).open(INFO, TEXTS, state)
    results += videos.track(session, make()[len(results) :])
    assert shown(results) == shown(track(StandIn(), TEXTS))


def test_on_several_gpus_a_window_is_tracked_to_its_end() -> None:
    """The others would wait for the one that stops."""

    def stop() -> None:
        raise Stopped

    predictor = standin.predictor(StandIn())
    predictor._loaded = replace(predictor._loaded, gpus=2)
    session = predictor.open(INFO, TEXTS)
    session.on_beat = stop
    assert shown(videos.track(session, make())) == shown(track(StandIn(), TEXTS))


def test_a_job_that_stops_within_a_window_keeps_what_was_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = tmp_path / "clip.mp4"
    media.write_video(video, frames=FRAMES)
    native = StandIn()
    job = Job(video, tmp_path, partial(standin.predictor, native, window=8), TEXTS.prompts)
    with pytest.raises(Stopped):
        job.attempt(StopsAt(beats=60))
    line = Line()
    job.attempt(line)
    assert line.named("resumed"), "the windows before were saved"
    assert {row["frame"] for row in job.rows()} <= set(range(FRAMES))


class StopsAt(Line):
    """A parent that wants the job to stop at its n-th beat."""

    def __init__(self, beats: int) -> None:
        super().__init__()
        self._at = beats

    def beat(self) -> None:
        super().beat()
        if self.beats == self._at:
            self.why = self.reason


def test_what_a_window_had_is_free_before_a_shorter_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of the package holds the frames that it went through, and their tensors."""
    taken: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []
    propagate = StandIn._propagate

    def fail(self: StandIn, state: standin.State, frame: int) -> dict[str, Any]:
        window = torch.zeros(len(state.frames), 8)
        alive.append(any(each() is not None for each in taken))
        if len(window) > 8:
            taken.append(weakref.ref(window))
            error = RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
            error.window = window  # type: ignore[attr-defined]
            raise error
        return propagate(self, state, frame)

    monkeypatch.setattr(StandIn, "_propagate", fail)
    native = StandIn()
    track(native, TEXTS)
    assert taken
    assert not any(alive)
    assert max(native.started[1:]) == 8


def test_on_several_gpus_all_processes_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other GPUs wait for the one that failed, so that no shorter window can be tried."""
    native = StandIn()
    native.fails_at = 20, torch.OutOfMemoryError("simulated")
    predictor = standin.predictor(native)
    predictor._loaded = replace(predictor._loaded, gpus=2)
    with pytest.raises(GpuError, match="one of 2 GPUs") as failed:
        videos.track(predictor.open(INFO, TEXTS), make())
    assert not failed.value.transient, "a retry would run out of memory again"
    assert "SHOAL_SAM3_WINDOW to 8" in (failed.value.hint or "")
