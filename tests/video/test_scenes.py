"""Where scenes begin, frame by frame."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from hypothesis import HealthCheck, given, settings as effort, strategies as st

from worker.video.scenes import AROUND, BINS, SCALE, CutDetector, Light

# Frames of a few shades each: a cut, where the shade changes, and all else that may happen.
SHADES = st.lists(st.integers(0, 3), max_size=30)


def light(shade: int) -> Light:
    """The histograms of a frame of one colour."""
    histograms = [np.roll(np.eye(1, bins, dtype=np.uint16)[0], shade) * SCALE for bins in BINS]
    return np.concatenate(histograms).astype("<u2")


def cuts(shades: Sequence[int]) -> list[int]:
    detector = CutDetector()
    decided = [cut for shade in shades for cut in detector.add(light(shade))]
    decided += detector.finish()
    assert len(decided) == len(shades)
    return np.flatnonzero(decided).tolist()


def test_a_scene_begins_where_the_light_changes_and_stays() -> None:
    assert cuts([0] * 8 + [1] * 8 + [2] * 3) == [8, 16]
    assert cuts([0] * 8 + [1]) == [8]
    assert cuts([0, *[1] * 8]) == [1]
    assert cuts([0] * 9) == cuts([0]) == cuts([]) == []


def test_neither_a_flash_nor_a_flicker_nor_a_moving_camera_is_a_cut() -> None:
    assert cuts([0] * 8 + [1] + [0] * 8) == []
    assert cuts([0] * 8 + [1, 0, 1, 0] + [0] * 8) == []
    assert cuts([0] * 8 + [1, 2, 3] + [0] * 8) == []


def test_it_is_known_at_once_that_there_is_none_and_soon_that_there_is_one() -> None:
    detector = CutDetector()
    assert [detector.add(light(0)) for _ in range(5)] == [[False]] * 5
    assert [detector.add(light(1)) for _ in range(AROUND)] == [[]] * AROUND
    assert detector.add(light(1)) == [True, *[False] * AROUND]
    assert detector.add(light(1)) == [False]


@effort(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SHADES)
def test_a_cut_is_one_from_either_side(shades: list[int]) -> None:
    backward = cuts(shades[::-1])
    assert cuts(shades) == sorted(len(shades) - at for at in backward)


@effort(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SHADES, st.data())
def test_a_detector_restored_anywhere_decides_as_if_nothing_had_happened(
    shades: list[int], data: st.DataObject
) -> None:
    stop = data.draw(st.integers(0, len(shades)))
    first = CutDetector()
    decided = [cut for shade in shades[:stop] for cut in first.add(light(shade))]
    second = CutDetector.load(json.loads(json.dumps(first.dump())))
    assert second.dump() == first.dump()
    decided += [cut for shade in shades[stop:] for cut in second.add(light(shade))]
    decided += second.finish()
    assert np.flatnonzero(decided).tolist() == cuts(shades)
