"""What happens where the device's memory does not suffice, and what is left of it afterwards."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from shoal.errors import GpuOutOfMemory
from tests.sam3 import videos
from worker.engines.base import Query, VisualPrompt
from worker.engines.gpu import release
from worker.engines.sam3 import predictor as predictors, propagate, session as sessions
from worker.engines.sam3.predictor import Sam3Predictor
from worker.engines.sam3.session import Sam3Session

FRAMES = 20
PROMPTS = ("a", "bc")
MANY = Query(
    ("a",),
    tuple(
        VisualPrompt(label="x", object=str(n), frame=0, points=((10 * n + 5, 30, 1),))
        for n in range(7)
    ),
)
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


class Scarce:
    """Lets a function run out of memory where it is given too much at once.

    Attributes:
        sizes: how much it was given, call by call.
    """

    def __init__(self, patch: pytest.MonkeyPatch, error: Exception = OUT_OF_MEMORY[0]) -> None:
        self._patch, self._error = patch, error
        self.sizes: list[int] = []

    def limit(self, owner: Any, name: str, size: Callable[..., int], fits: int) -> None:
        work = getattr(owner, name)

        def scarce(*args: Any, **kwargs: Any) -> Any:
            self.sizes.append(size(*args, **kwargs))
            if self.sizes[-1] > fits:
                work(*args, **kwargs)  # half of the work is done when it happens
                raise self._error
            return work(*args, **kwargs)

        self._patch.setattr(owner, name, scarce)

    def limit_encoder(self, fits: int) -> None:
        self.limit(sessions, "look_ahead", lambda model, prompts, pixels, *_: len(pixels), fits)

    def limit_attention(self, fits: int) -> None:
        self.limit(propagate, "_attend", lambda tracker, seen, recalled: len(recalled), fits)

    def limit_decoder(self, fits: int) -> None:
        self.limit(propagate, "_decode", lambda tracker, seen, conditioned: len(conditioned), fits)


def track(predictor: Sam3Predictor, query: Query, frames: int = FRAMES) -> list[Any]:
    return videos.shown(videos.track(predictor.open(videos.INFO, query), videos.make(frames)))


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=("torch", "cublas"))
def test_too_little_for_the_encoder_halves_the_lookahead_and_loses_nothing(
    forgetful: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    predictor = Sam3Predictor(str(forgetful), lookahead=8)
    expected = track(predictor, Query(PROMPTS))
    scarce = Scarce(monkeypatch, error)
    scarce.limit_encoder(fits=2)
    assert track(predictor, Query(PROMPTS)) == expected
    assert list(dict.fromkeys(scarce.sizes)) == [8, 4, 2]


@pytest.mark.parametrize("part", ["attention", "decoder"])
def test_too_little_for_the_tracker_halves_the_objects_of_a_pass_first(
    predictor: Sam3Predictor, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    expected = track(predictor, MANY, 6)
    scarce = Scarce(monkeypatch)
    getattr(scarce, f"limit_{part}")(fits=2)
    session = predictor.open(videos.INFO, MANY)
    lookahead = session._lookahead
    results = session.step(videos.make(6)) + session.finish()
    assert videos.shown(results) == expected
    assert max(scarce.sizes) > 4
    assert session._tracker.chunk <= 2
    assert session._lookahead == lookahead
    session.close()
    assert scarce.sizes[-1] <= 2, "it stays at what fits"


def test_objects_one_by_one_then_frames_one_by_one_then_the_error_is_named(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Sam3Predictor(str(plain), lookahead=4)
    scarce = Scarce(monkeypatch)
    scarce.limit_attention(fits=0)
    session = predictor.open(videos.INFO, MANY)
    with pytest.raises(GpuOutOfMemory, match="1 prompt") as caught:
        videos.track(session, videos.make(8))
    assert "prompts" in caught.value.hint
    assert not caught.value.transient
    assert scarce.sizes[0] > scarce.sizes[1] > scarce.sizes[-1] == 1
    assert session._lookahead == 1


def test_too_little_for_a_single_frame_is_named(
    predictor: Sam3Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scarce(monkeypatch).limit_encoder(fits=0)
    with pytest.raises(GpuOutOfMemory, match="1 prompt"):
        track(predictor, Query(("a",)), 3)


@pytest.mark.parametrize("name", ["to_result", "_pixels"])
def test_too_little_for_taking_in_and_drawing_a_frame_is_named(
    predictor: Sam3Predictor, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OUT_OF_MEMORY[1]

    session = predictor.open(videos.INFO, Query(("a",)))
    if name == "to_result":
        monkeypatch.setattr(sessions, "to_result", fail)
    else:
        monkeypatch.setattr(session._streams, "send", fail)
    with pytest.raises(GpuOutOfMemory, match="not enough GPU memory"):
        videos.track(session, videos.make(20))


@pytest.mark.parametrize("chunk", [1, 3])
def test_chunks_of_objects_give_the_same_masks(predictor: Sam3Predictor, chunk: int) -> None:
    expected = track(predictor, MANY, 8)
    session = predictor.open(videos.INFO, MANY)
    session._tracker.chunk = chunk
    assert videos.shown(videos.track(session, videos.make(8))) == expected
    assert any(len(each) > 3 for each in expected)


def test_a_resumed_session_has_the_portions_of_the_first(predictor: Sam3Predictor) -> None:
    session = predictor.open(videos.INFO, MANY)
    session._tracker.chunk = 2
    session.step(videos.make(3))
    state = session.state()
    session.close()
    resumed = predictor.open(videos.INFO, MANY, state)
    assert resumed._tracker.chunk == 2
    resumed.close()


def test_the_second_video_gets_the_lookahead_of_the_first(
    predictor: Sam3Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver counts what torch's allocator keeps for later as used."""
    gib = 2**30
    monkeypatch.setattr(predictor, "_lookahead", None)
    monkeypatch.setattr(
        predictor, "_loaded", SimpleNamespace(model=SimpleNamespace(device=torch.device("cuda")))
    )
    allocated = 4 * gib  # the weights

    def choose(reserved: int) -> Any:
        for name, value in {
            "mem_get_info": (24 * gib - reserved, 24 * gib),
            "memory_reserved": reserved,
            "memory_allocated": allocated,
        }.items():
            monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
        return predictor._choose_fits(2)

    first, second = choose(4 * gib), choose(20 * gib)
    assert first == second
    assert 1 < first.frames <= predictors.MAX_LOOKAHEAD
    assert 1 < first.objects <= predictors.MAX_CHUNK


def test_nothing_of_a_failed_call_stays_alive(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error holds the frames that it went through, and is held by a job that failed."""
    predictor = Sam3Predictor(str(plain), lookahead=2)
    tensors: list[weakref.ref[Tensor]] = []
    attend = propagate._attend

    def fail(*args: Any) -> Tensor:
        attended = attend(*args)
        tensors.extend(map(weakref.ref, (attended, args[1].masks, args[1].features[0])))
        raise ValueError("of the tracker")

    monkeypatch.setattr(propagate, "_attend", fail)
    session = predictor.open(videos.INFO, MANY)
    said = ""
    try:
        videos.track(session, videos.make(8))
    except ValueError as error:
        session.failed = error  # type: ignore[attr-defined]  # a cycle, as a pipeline has it
        said = str(error)
    assert said
    del session
    release()
    assert tensors
    assert not any(tensor() is not None for tensor in tensors)


def test_what_a_halved_pass_had_is_free_before_the_next_one(
    predictor: Sam3Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditioned: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    decode = propagate._decode

    def scarce(tracker: Any, seen: Any, features: Tensor) -> Any:
        alive.append(sum(tensor() is not None for tensor in conditioned))
        conditioned.append(weakref.ref(features))
        if len(features) > 2:
            raise torch.OutOfMemoryError("simulated")
        return decode(tracker, seen, features)

    monkeypatch.setattr(propagate, "_decode", scarce)
    track(predictor, MANY, 3)
    assert len(alive) > 4
    assert set(alive) == {0}


def test_threads_belong_to_the_predictor_not_to_a_video(plain: Path) -> None:
    """Plans of cuDNN and blocks of the allocator are kept by thread and stream."""
    predictor = Sam3Predictor(str(plain))
    names = []
    streams = set()
    for _ in range(3):
        session = predictor.open(videos.INFO, Query(("a",)))
        streams.add(id(session._streams))
        session.step(videos.make(3))
        assert isinstance(session, Sam3Session)
        session.close()
        session.close()
        names.append(
            sorted(t.ident or 0 for t in threading.enumerate() if t.name.startswith("sam3"))
        )
    assert len(streams) == 1
    assert names[0] == names[1] == names[2]
