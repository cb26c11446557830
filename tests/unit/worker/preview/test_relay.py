"""The parent's side: what becomes of a preview, whatever the model process does."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shoal.errors import ModelProcessDied, VideoBomb
from shoal.model.failure import Failure
from shoal.model.preview import PreviewFrame, PreviewSpec, PreviewState, PreviewVideo
from shoal.model.worker import WorkerInfo
from shoal.queue.previews import Previews, new_id
from shoal.settings import Settings
from worker.model_handle import ModelProcess
from worker.preview import relay as relays
from worker.preview.relay import PreviewRelay
from worker.protocol import Detect, FromModel, PreviewEnded, PreviewFound, Ready


class ScriptedModel:
    """A model process that says what it is told to."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.script: list[FromModel | Exception | None] = []
        self.alive = True
        self.killed = False

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def wait(self, timeout_s: float) -> FromModel | None:
        message = self.script.pop(0) if self.script else None
        if isinstance(message, Exception):
            raise message
        return message

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def previews(redis: Redis, settings: Settings) -> Previews:
    return Previews(redis, settings.queue)


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def relay(previews: Previews, model: ScriptedModel) -> PreviewRelay:
    info = WorkerInfo(name="w", host="h", pid=1, started_at=1, engine="cpu")
    return PreviewRelay(previews, cast("ModelProcess", model), info)


@pytest.fixture
def asked(previews: Previews) -> str:
    spec = PreviewSpec(id=new_id(), uri="file:///v.mp4", size=1, prompts=("person",))
    return previews.ask(spec).id


def found(preview_id: str, number: int = 0) -> PreviewFound:
    frame = PreviewFrame(
        frame=number, exact=True, time_s=number, width=8, height=8, detect_s=0.1, objects=[]
    )
    video = PreviewVideo(fps=25, duration_s=4)
    return PreviewFound(preview=preview_id, number=number, frame=frame, video=video, picture="/9j/")


def serve(relay: PreviewRelay) -> bool:
    return relay.answer_one(lambda: None, lambda: False)


def test_a_preview_goes_to_the_model_and_its_frames_come_back(
    relay: PreviewRelay, model: ScriptedModel, previews: Previews, asked: str
) -> None:
    model.script = [found(asked), None, found(asked, 1), PreviewEnded(preview=asked)]
    assert serve(relay)
    assert isinstance(model.sent[0], Detect)
    made = previews.get(asked)
    assert (made.state, made.engine) == (PreviewState.DONE, "cpu")
    assert [frame.frame for frame in made.frames] == [0, 1]
    assert previews.picture(asked, 1) == b"\xff\xd8\xff"
    relay._next_poll = 0
    assert not serve(relay)


def test_one_preview_at_a_time(
    relay: PreviewRelay, model: ScriptedModel, previews: Previews, asked: str
) -> None:
    previews.ask(PreviewSpec(id=new_id(), uri="file:///w.mp4", size=1, prompts=("person",)))
    for _ in range(3):
        relay._next_poll = 0
        relay.poll()
    assert len(model.sent) == 1


def test_a_failure_is_told_without_its_traceback(
    relay: PreviewRelay, model: ScriptedModel, previews: Previews, asked: str
) -> None:
    failure = Failure.of(VideoBomb("too much")).model_copy(update={"traceback": "secret"})
    model.script = [PreviewEnded(preview=asked, failure=failure)]
    serve(relay)
    made = previews.get(asked)
    assert made.state is PreviewState.FAILED
    assert made.error is not None
    assert (made.error.code, made.error.traceback) == ("video_bomb", "")
    assert not model.killed


def test_a_model_process_that_dies_or_lies_fails_its_preview(
    relay: PreviewRelay, model: ScriptedModel, previews: Previews, asked: str
) -> None:
    model.script = [ModelProcessDied("gone")]
    serve(relay)
    made = previews.get(asked)
    assert made.error is not None
    assert made.error.code == "model_process_died"
    again = previews.ask(PreviewSpec(id=new_id(), uri="file:///v.mp4", size=1, prompts=("cat",)))
    model.script = [Ready(engine="x", device="y")]
    relay._next_poll = 0
    serve(relay)
    assert model.killed
    assert previews.get(again.id).state is PreviewState.FAILED


def test_a_lost_gpu_ends_the_process(relay: PreviewRelay, model: ScriptedModel, asked: str) -> None:
    failure = Failure.of(VideoBomb("x"))
    model.script = [PreviewEnded(preview=asked, failure=failure, lost=True)]
    serve(relay)
    assert model.killed


def test_a_model_that_does_not_answer_is_not_waited_for(
    relay: PreviewRelay, previews: Previews, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "ANSWER_S", -1.0)
    serve(relay)
    made = previews.get(asked)
    assert made.error is not None
    assert made.error.code == "preview_expired"
    assert relay.hear(found(asked))  # late, and about nothing
    assert previews.get(asked).frames == []


def test_a_worker_that_must_go_leaves_its_preview_to_another(
    relay: PreviewRelay, previews: Previews, asked: str
) -> None:
    relay.poll()
    assert relay.answer_one(lambda: None, lambda: True)
    relay.give_back()
    assert previews.get(asked).state is PreviewState.WAITING
    taken = previews.take("cpu")
    assert taken is not None
    assert taken.id == asked


def test_redis_away_is_no_reason_to_end(
    model: ScriptedModel, relay: PreviewRelay, previews: Previews, asked: str
) -> None:
    away = Previews(Redis(port=1, retry=Retry(NoBackoff(), 0)), "shoal")
    info = WorkerInfo(name="w", host="h", pid=1, started_at=1, engine="cpu")
    lonely = PreviewRelay(away, cast("ModelProcess", model), info)
    assert not serve(lonely)
    relay.poll()
    relay._previews = away
    model.script = [found(asked), PreviewEnded(preview=asked)]
    assert serve(relay)
    assert not relay.is_pending
