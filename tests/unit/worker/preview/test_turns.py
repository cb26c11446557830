"""Previews come in between two frames of a video, and at once where there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.running import eventually
from worker.preview.turns import Turns


@pytest.fixture
def inside() -> list[str]:
    return []


def preview(turns: Turns, inside: list[str], done: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        with turns.preview():
            inside.append("preview")
            done()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_without_a_video_a_preview_begins_at_once(inside: list[str]) -> None:
    preview(Turns(), inside, lambda: None).join(10)
    assert inside == ["preview"]


def test_a_preview_waits_for_the_next_frame_and_the_video_for_the_preview(
    inside: list[str],
) -> None:
    turns, may_end = Turns(), threading.Event()

    def end() -> None:
        inside.append("end")
        may_end.set()

    with turns.video():
        thread = preview(turns, inside, lambda: may_end.wait(10))
        eventually(lambda: turns._previews_waiting, "the preview to wait")
        assert inside == []
        threading.Timer(0.05, end).start()
        turns.between_frames()
        assert inside == ["preview", "end"]
        turns.between_frames()  # nobody waits
    thread.join(10)


def test_no_preview_is_overtaken_by_the_frames_that_follow(inside: list[str]) -> None:
    """A lock that is released and taken again at once would starve it."""
    turns = Turns()
    for _ in range(200):
        with turns.video():
            thread = preview(turns, inside, lambda: None)
            eventually(lambda: turns._previews_waiting, "the preview to wait")
            before = len(inside)
            turns.between_frames()
            assert len(inside) == before + 1
        thread.join(10)


def test_an_error_leaves_the_predictor_to_others(inside: list[str]) -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.video():
        raise ZeroDivisionError
    preview(turns, inside, lambda: None).join(10)
    assert inside == ["preview"]


def test_previews_without_end_keep_no_video_from_going_on() -> None:
    turns, over, answered = Turns(), threading.Event(), threading.Semaphore(0)

    def keep_asking() -> None:
        while not over.is_set():
            with turns.preview():
                answered.release()

    threads = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):  # videos
        with turns.video():
            for _ in range(20):  # frames
                turns.between_frames()
    over.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert answered.acquire(blocking=False)
