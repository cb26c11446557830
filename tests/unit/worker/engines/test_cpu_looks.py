"""What the CPU engine remembers of an object's look, and which scores it believes."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given, strategies as st

from shoal.engines.cpu import FACE, WORDS, resolve
from worker.engines.cpu.appearance import Look, alike, blend, looks
from worker.engines.cpu.detector import MIN_SCORE
from worker.engines.cpu.thresholds import BIRTHS, thresholds

SIDES = st.integers(1, 300)


def picture(width: int, height: int, seed: int = 1) -> av.VideoFrame:
    """Blotches of colour, the same ones at any size."""
    blotches = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(blotches, format="bgr24")
    return frame.reformat(width=width, height=height, format="yuv420p")


def look(frame: av.VideoFrame) -> Look:
    return looks(frame, [(0.0, 0.0, float(frame.width), float(frame.height))])[0]


def test_a_look_is_the_same_at_any_size_and_place() -> None:
    small, large = picture(60, 80), picture(300, 400)
    assert alike(look(small), look(small)) == pytest.approx(1.0)
    assert alike(look(small), look(large)) > 0.95
    bgr = np.zeros((200, 200, 3), np.uint8)
    bgr[100:180, 120:180] = small.to_ndarray(format="bgr24")
    moved = av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(format="yuv420p")
    (there,) = looks(moved, [(120.0, 100.0, 180.0, 180.0)])
    assert alike(look(small), there) > 0.95


def plain(*bands: tuple[int, int, int]) -> av.VideoFrame:
    """Bands of one colour each (blue, green, red), from top to bottom."""
    bgr = np.repeat(np.array(bands, np.uint8), 40, axis=0)[:, None].repeat(60, axis=1)
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(bgr), "bgr24").reformat(format="yuv420p")


def test_other_colours_are_another_look() -> None:
    red, blue = look(plain((40, 30, 200))), look(plain((200, 60, 30)))
    assert alike(red, red) == pytest.approx(1.0)
    assert alike(red, blue) < 0.6


def test_the_same_colours_upside_down_are_another_look() -> None:
    red, blue = (40, 30, 200), (200, 60, 30)
    assert alike(look(plain(red, blue)), look(plain(blue, red))) < 0.6


@given(SIDES, SIDES, st.lists(st.tuples(*[st.floats(-50, 400)] * 4), max_size=4))
def test_any_box_in_any_picture_has_a_look(
    width: int, height: int, boxes: list[tuple[float, float, float, float]]
) -> None:
    """Also one that is thin or reaches out of the picture."""
    found = looks(picture(width, height), boxes)
    assert len(found) == len(boxes)
    for each in found:
        assert np.linalg.norm(each) == pytest.approx(1.0)


def test_a_running_mean_follows_and_keeps_its_length() -> None:
    first, second = look(picture(60, 80)), look(picture(60, 80, seed=2))
    mean = first
    for _ in range(60):
        blended = blend(mean, second, 0.1)
        assert blended is not None
        mean = blended
        assert np.linalg.norm(mean) == pytest.approx(1.0)
    assert alike(mean, second) > 0.99
    assert blend(None, first, 0.1) is first
    assert blend(first, None, 0.1) is first


def test_what_has_no_look_is_not_told_apart_by_it() -> None:
    assert alike(None, look(picture(60, 80))) == alike(None, None) == 1.0


# --- thresholds ----------------------------------------------------------------------------------


def test_every_class_has_thresholds_that_the_detector_can_reach() -> None:
    assert set(BIRTHS) <= set(WORDS)
    for index in range(FACE):
        known = thresholds((index,))
        assert MIN_SCORE < known.strong < known.birth < 1
        assert not known.eager


@pytest.mark.parametrize("word", ["animal", "ball", "bag", "vehicle", "van", "fruit"])
def test_a_word_of_several_classes_is_as_careful_as_the_most_doubtful_one(word: str) -> None:
    classes = resolve(word)
    assert thresholds(classes).birth == max(thresholds((each,)).birth for each in classes)


@given(st.integers(0, FACE), st.floats(0, 1))
def test_a_threshold_that_is_asked_for_takes_the_place_of_the_usual_one(
    index: int, asked: float
) -> None:
    usual, known = thresholds((index,)), thresholds((index,), asked)
    assert known.birth == asked
    assert known.strong <= asked  # else what may begin a track would be matched as a weak one
    assert known.eager == usual.eager == (index == FACE)
