"""Previews in Redis: who takes which, and when they are over."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from shoal.errors import (
    InvalidVisualPrompt,
    NoWorker,
    PreviewNotFound,
    RateLimited,
    ShoalError,
    UnsupportedByEngine,
)
from shoal.ingest.previews import check_can_answer, check_source
from shoal.ingest.submissions import validate_request
from shoal.model.failure import Failure
from shoal.model.ids import is_job_id
from shoal.model.preview import (
    PreviewFrame,
    PreviewRequest,
    PreviewSpec,
    PreviewState,
    PreviewVideo,
)
from shoal.model.worker import WorkerInfo
from shoal.queue import previews as module
from shoal.queue.previews import KEPT_S, WAIT_S, Previews, fits, new_id
from shoal.settings import Settings


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def previews(redis: Redis, settings: Settings, clock: Clock) -> Previews:
    return Previews(redis, settings.queue, clock)


def spec(**fields: Any) -> PreviewSpec:
    return PreviewSpec(
        **{"id": new_id(), "uri": "file:///v.mp4", "size": 1, "prompts": ("person",), **fields}
    )


FRAME = PreviewFrame(frame=5, exact=True, time_s=0.2, width=64, height=48, detect_s=0.1, objects=[])
VIDEO = PreviewVideo(fps=25, duration_s=4, start_scores={"person": 0.5})


def test_the_way_of_a_preview(previews: Previews, redis: Redis) -> None:
    asked = previews.ask(spec())
    assert is_job_id(asked.id)
    assert asked.state is PreviewState.WAITING
    taken = previews.take("cpu")
    assert taken is not None
    assert taken.id == asked.id
    assert previews.take("cpu") is None
    previews.add_frame(asked.id, 0, FRAME, b"jpeg", VIDEO)
    running = previews.get(asked.id)
    assert (running.state, running.engine, running.video) == (PreviewState.RUNNING, "cpu", VIDEO)
    assert running.frames[0].picture == f"/previews/{asked.id}/pictures/0"
    assert previews.picture(asked.id, 0) == b"jpeg"
    previews.finish(asked.id, None)
    assert previews.get(asked.id).state is PreviewState.DONE
    for key in redis.keys("*preview:*"):
        assert 0 < redis.ttl(key) <= KEPT_S


def test_no_key_is_left_without_an_end(previews: Previews, redis: Redis) -> None:
    """Also what a worker writes to a preview that is gone."""
    previews.add_frame(new_id(), 0, FRAME, b"", VIDEO)
    previews.finish(new_id(), None)
    previews.ask(spec())
    assert all(redis.ttl(key) > 0 for key in redis.keys("*preview*"))


def test_an_expired_preview_is_dropped_and_not_worked_off(
    previews: Previews, clock: Clock, redis: Redis
) -> None:
    old = previews.ask(spec())
    clock.now += WAIT_S + 1
    expired = previews.get(old.id)
    assert expired.state is PreviewState.FAILED
    assert expired.error is not None
    assert expired.error.code == "preview_expired"
    young = previews.ask(spec())
    taken = previews.take("cpu")
    assert taken is not None
    assert taken.id == young.id
    assert redis.llen(previews._waiting) == 0


def test_a_preview_of_a_worker_that_vanished_is_over(previews: Previews, clock: Clock) -> None:
    asked = previews.ask(spec())
    assert previews.take("cpu")
    clock.now += module.ANSWER_S + 1
    error = previews.get(asked.id).error
    assert error is not None
    assert error.code == "preview_expired"


@pytest.mark.parametrize(
    ("fields", "engine", "expected"),
    [
        ({}, "cpu", True),
        ({}, "sam3", True),
        ({}, "sam3-native", False),
        ({}, "package", True),
        ({"engine": "sam3"}, "cpu", False),
        ({"engine": "cpu"}, "cpu", True),
        ({"prompts": ("unicorn",)}, "cpu", False),
        ({"prompts": ("unicorn",)}, "sam3", True),
        ({"objects": [{"label": "a", "frame": 0, "points": [[1, 1, 1]]}]}, "cpu", False),
        ({"objects": [{"label": "a", "frame": 0, "points": [[1, 1, 1]]}]}, "sam3", True),
        ({"exemplars": [{"prompt": "a", "box": [1, 1, 9, 9]}]}, "cpu", False),
        ({"exemplars": [{"prompt": "a", "box": [1, 1, 9, 9]}]}, "sam3", True),
    ],
)
def test_a_worker_takes_what_its_engine_can_answer(
    previews: Previews, fields: dict[str, Any], engine: str, expected: bool
) -> None:
    asked = spec(**fields)
    assert fits(asked, engine) == expected
    previews.ask(asked)
    assert bool(previews.take(engine)) == expected


def test_one_that_it_cannot_answer_keeps_no_other_waiting(previews: Previews) -> None:
    previews.ask(spec(engine="sam3"))
    second = previews.ask(spec())
    taken = previews.take("cpu")
    assert taken is not None
    assert taken.id == second.id


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe", b"x" * 24, b"0" * 24])
def test_what_others_wrote_is_left_out(previews: Previews, redis: Redis, garbage: bytes) -> None:
    redis.rpush(previews._waiting, garbage)
    redis.hset(previews._key("0" * 24), mapping={"spec": "[", "since": "x", "state": "?"})
    good = previews.ask(spec())
    taken = previews.take("cpu")
    assert taken is not None
    assert taken.id == good.id
    with pytest.raises(ShoalError) as caught:
        previews.get("0" * 24)
    assert caught.value.code == "unreadable_record"


def test_unknown_ones_are_named(previews: Previews) -> None:
    for unknown in ("x", "0" * 24, "*"):
        with pytest.raises(PreviewNotFound):
            previews.get(unknown)
        with pytest.raises(PreviewNotFound):
            previews.picture(unknown, 0)
    asked = previews.ask(spec())
    for number in (-1, 0, 10**6):
        with pytest.raises(PreviewNotFound):
            previews.picture(asked.id, number)


def test_only_so_many_wait(previews: Previews, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    previews.ask(spec())
    previews.ask(spec())
    with pytest.raises(RateLimited):
        previews.ask(spec())


def test_no_traceback_is_told(previews: Previews) -> None:
    asked = previews.ask(spec())
    failure = Failure(code="x", message="m", hint="h", transient=False, traceback="File a")
    previews.finish(asked.id, failure)
    error = previews.get(asked.id).error
    assert error is not None
    assert error.traceback == ""


# --- what is refused at once ----------------------------------------------------------------------


def worker(engine: str, draining: bool = False) -> WorkerInfo:
    return WorkerInfo(name="w", host="h", pid=1, started_at=1, engine=engine, draining=draining)


def check(workers: list[WorkerInfo], **fields: Any) -> None:
    request = PreviewRequest(**{"uri": "file:///v.mp4", "prompts": ["person"], **fields})
    check_can_answer(validate_request(request.submission), workers)


def test_a_worker_that_can_answer_or_is_starting_is_enough() -> None:
    check([worker("cpu")])
    check([worker("")])
    check([worker("package.module")])
    check([worker("cpu"), worker("sam3")], engine="sam3")
    check([worker("")], engine="sam3")


@pytest.mark.parametrize("engine", ["cpu", "sam3-native"])
def test_exemplars_are_refused_by_name(engine: str) -> None:
    box = {"prompt": "person", "frame": 3, "box": (1, 2, 30, 40)}
    check([worker("sam3")], exemplars=[box])
    check([worker("sam3")], prompts=[], exemplars=[box])
    for chosen in ("auto", engine):
        with pytest.raises(UnsupportedByEngine, match=f"the {engine} engine .*exemplars"):
            check([worker(engine)], exemplars=[box], engine=chosen)
    with pytest.raises(InvalidVisualPrompt, match="negative exemplars only"):
        check([worker("sam3")], exemplars=[box | {"prompt": "dog", "positive": False}])


def test_too_many_frames_are_refused() -> None:
    box = {"prompt": "a", "box": (1, 2, 30, 40)}
    with pytest.raises(ValueError, match="at most 12 frames"):
        PreviewRequest(uri="file:///v", exemplars=[box | {"frame": n} for n in range(13)])


@pytest.mark.parametrize("workers", [[], [worker("cpu", draining=True)]])
def test_without_a_worker_the_hint_says_how_to_start_one(workers: list[WorkerInfo]) -> None:
    with pytest.raises(NoWorker) as caught:
        check(workers)
    assert "shoal worker" in caught.value.hint


def test_the_engine_is_named_that_no_worker_has() -> None:
    with pytest.raises(NoWorker, match="sam3"):
        check([worker("cpu")], engine="sam3")


def test_what_no_loaded_engine_can_do_has_its_own_cause() -> None:
    with pytest.raises(ShoalError) as caught:
        check([worker("cpu")], prompts=["unicorn"])
    assert caught.value.code == "unknown_prompt"
    with pytest.raises(UnsupportedByEngine, match="preview"):
        check([worker("sam3-native")])
    with pytest.raises(UnsupportedByEngine, match="preview"):
        check([worker("sam3-native")], engine="sam3-native")


@pytest.mark.parametrize("uri", ["gs://b/frames/", "file:///a.TAR", "s3://b/a.webp"])
def test_sequences_of_pictures_have_none(uri: str) -> None:
    with pytest.raises(ShoalError) as caught:
        check_source(uri)
    assert caught.value.code == "preview_unsupported"
