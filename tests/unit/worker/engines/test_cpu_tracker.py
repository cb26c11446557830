"""The tracker, on made-up detections."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import numpy as np
import pytest

from worker.engines.cpu import tracker as module
from worker.engines.cpu.association import buffered_iou
from worker.engines.cpu.track import BoxTrack, Detection, TrackState
from worker.engines.cpu.tracker import BoxTracker

FPS = 15.0
BUFFER = 38.0  # what a 720p video has


def detection(
    x: float, y: float = 100, size: float = 50, score: float = 0.9, label: int = 0
) -> Detection:
    return Detection(label, score, (x, y, x + size, y + size))


def run(
    frames: Sequence[Sequence[Detection]], fps: float = FPS, buffer: float = BUFFER
) -> tuple[BoxTracker, list[list[BoxTrack]]]:
    """Feed all frames; returns the finished tracker and the tracks seen on each frame."""
    tracker = BoxTracker(buffer)
    seen = [tracker.update(i / fps, detections) for i, detections in enumerate(frames)]
    tracker.finish()
    return tracker, seen


def ids(seen: Sequence[Sequence[BoxTrack]]) -> list[list[int]]:
    """The objects on each frame, false alarms left out."""
    return [[track.object_id for track in frame if track.object_id] for frame in seen]


def test_buffered_iou_is_iou_of_grown_boxes() -> None:
    a = np.array([[0.0, 0.0, 10.0, 10.0]])
    b = np.array([[5.0, 0.0, 15.0, 10.0], [12.0, 0.0, 22.0, 10.0]])
    assert buffered_iou(a, b, 0.0) == pytest.approx(np.array([[50 / 150, 0.0]]))
    # Grown by 2 each is 14 wide, and the second overlaps by 2.
    assert buffered_iou(a, b, 2.0)[0, 1] == pytest.approx(2 * 14 / (2 * 14 * 14 - 2 * 14))


def test_an_object_has_one_id_from_its_first_frame_on() -> None:
    _, seen = run([[detection(10 + 4 * i)] for i in range(30)])
    assert ids(seen) == [[1]] * 30


def test_a_small_object_faster_than_its_own_size_keeps_its_id() -> None:
    frames = [[detection(10 + 30 * i, size=20)] for i in range(30)]
    assert ids(run(frames)[1]) == [[1]] * 30
    assert run(frames, buffer=0.0)[0].tracks[-1].number > 1  # the buffer is what does it


def test_a_video_may_be_tracked_from_behind() -> None:
    """A mirrored course gives the mirrored tracks; velocities are those of the video."""
    frames = [[detection(10 * i), detection(400 - 10 * i, y=115)] for i in range(40)]
    forward = BoxTracker(BUFFER)
    ahead = [forward.update((i - 39) / FPS, seen) for i, seen in enumerate(frames)]
    courses = [(track.object_id, track.box, track.velocity) for track in forward.tracks]
    backward = BoxTracker(BUFFER)
    back = [backward.update((39 - i) / FPS, seen) for i, seen in enumerate(frames)]
    assert ids(back) == ids(ahead)
    assert courses == [
        (track.object_id, track.box, (-track.velocity[0], -track.velocity[1]))
        for track in backward.tracks
    ]
    unseen = [backward.update(-i / FPS, []) for i in range(1, 40)]
    assert not any(unseen)
    assert not backward.tracks, "a track ends when it was unseen for long, this way too"


def test_the_prediction_is_what_tells_crossing_objects_apart() -> None:
    crossing = [[detection(10 * i), detection(400 - 10 * i, y=115)] for i in range(40)]
    _, seen = run(crossing)
    first = {track.object_id for frame in seen for track in frame if track.box[1] == 100}
    second = {track.object_id for frame in seen for track in frame if track.box[1] == 115}
    assert (first, second) == ({1}, {2})


def test_velocity_is_per_second_so_frames_may_come_irregularly() -> None:
    tracker = BoxTracker(buffer=0.0)
    time_s, numbers = 0.0, set()
    for i in range(60):
        time_s += 1 / 30 if i % 3 else 1 / 10
        numbers |= {track.number for track in tracker.update(time_s, [detection(240 * time_s)])}
    assert numbers == {1}
    assert tracker.tracks[0].velocity == pytest.approx((240.0, 0.0), abs=1.0)


def test_a_weak_detection_continues_a_track_but_begins_none() -> None:
    strong, weak = [detection(100)], [detection(100, score=0.3)]
    assert ids(run([strong] * 3 + [weak] * 5)[1]) == [[1]] * 8
    assert ids(run([weak] * 8)[1]) == [[]] * 8


def test_where_it_is_assumed_a_weak_detection_begins_a_track() -> None:
    tracker = BoxTracker(BUFFER)
    scores = [0.3, 0.3, 0.3, 0.3, 0.9, 0.3]
    first: list[float | None] = []
    for i, score in enumerate(scores):
        [seen] = tracker.update(i / FPS, [detection(10 + 4 * i, score=score)], assumes=i < 2)
        first.append(seen.first_score)
    assert seen.object_id == 1
    assert first == [None, None, None, None, 0.9, 0.9]  # until it could have begun by itself
    assert tracker.update(6 / FPS, [detection(400, score=0.3)]) == []


def test_a_strong_detection_has_the_first_choice() -> None:
    tracker, _ = run([[detection(100)]] * 5)
    weak_on_the_spot = detection(100, score=0.3)
    strong_beside_it = detection(110, score=0.9)
    (track,) = tracker.update(5 / FPS, [weak_on_the_spot, strong_beside_it])
    assert track.box == strong_beside_it.box


def test_a_false_alarm_gets_no_id_and_uses_none_up() -> None:
    flicker = [[detection(500)], [], [], [detection(500)], [], []]
    steady = [[detection(100)]] * 6
    _, seen = run([*flicker, *steady])
    assert ids(seen) == [[]] * 6 + [[1]] * 6


def test_a_detection_may_drop_out_while_a_track_is_tentative() -> None:
    _, seen = run([[detection(100)], [], [detection(100)], [], [detection(100)]])
    assert ids(seen) == [[1], [], [1], [], [1]]


def test_it_is_decided_within_the_confirmation_window() -> None:
    tracker = BoxTracker(BUFFER)
    (track,) = tracker.update(0.0, [detection(100)])
    for i in range(1, module.CONFIRMATION_FRAMES):
        assert track.state is TrackState.TENTATIVE
        tracker.update(i / FPS, [])
    assert track.state is TrackState.DELETED


def test_a_track_that_the_end_cuts_short_counts_if_it_was_never_missed() -> None:
    assert ids(run([[detection(100)]])[1]) == [[1]]
    assert ids(run([[detection(100)], []])[1]) == [[], []]


def test_labels_are_tracked_apart() -> None:
    frames = [[detection(100, label=0), detection(100, label=1)]] * 5
    frames += [[detection(100, label=1)]] * 5
    tracker, seen = run(frames)
    assert ids(seen) == [[1, 2]] * 5 + [[2]] * 5
    assert [track.label for track in tracker.tracks] == [0, 1]


@pytest.mark.parametrize(("fps", "gap", "same"), [(15, 14, True), (15, 17, False), (1, 3, True)])
def test_a_track_survives_a_short_absence(fps: float, gap: int, same: bool) -> None:
    _, seen = run([[detection(100)]] * 5 + [[]] * gap + [[detection(100)]] * 5, fps=fps)
    assert ids(seen)[-1] == ([1] if same else [2])


def test_nothing_grows_with_the_length_of_the_video() -> None:
    tracker, _ = run([[detection(60 * i % 1200, y=60 * (i % 9))] for i in range(2000)])
    assert len(tracker.tracks) < 40


def test_a_clock_that_stands_still_does_no_harm() -> None:
    tracker = BoxTracker(BUFFER)
    for i in range(10):
        tracker.update(0.0, [detection(100 + i)])
    assert len(tracker.tracks) == 1
    assert tracker.update(0.0, []) == []


def test_a_tracker_restored_at_any_frame_goes_on_as_if_nothing_had_happened() -> None:
    chance = random.Random(1)
    frames = [
        [
            detection(100 * k + 5 * i, y=80 * k, score=chance.uniform(0.26, 1), label=k % 2)
            for k in range(6)
            if chance.random() < 0.7
        ]
        for i in range(40)
    ]
    whole, expected = run(frames)
    assert sum(map(len, ids(expected))) > 100  # the frames do exercise it
    for cut in range(len(frames)):
        first = BoxTracker(BUFFER)
        before = [facts(first.update(i / FPS, frames[i])) for i in range(cut)]
        second = BoxTracker.load(json.loads(json.dumps(first.dump())), BUFFER)
        after = [facts(second.update(i / FPS, frames[i])) for i in range(cut, len(frames))]
        second.finish()
        assert before + after == expected_facts(frames)
        assert second.dump() == whole.dump()


def facts(tracks: Sequence[BoxTrack]) -> list[tuple[object, ...]]:
    """What was known of the tracks at the time: tracks change afterwards."""
    return [(t.number, t.object_id, t.box, t.score, t.velocity) for t in tracks]


def expected_facts(frames: Sequence[Sequence[Detection]]) -> list[list[tuple[object, ...]]]:
    tracker = BoxTracker(BUFFER)
    return [facts(tracker.update(i / FPS, detections)) for i, detections in enumerate(frames)]
