"""The engine against transformers' own propagation on the same checkpoint, in float32."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from tests.sam3 import stock, videos
from worker.engines.base import FrameResult, Query
from worker.engines.sam3.predictor import Sam3Predictor

FRAMES = 24

# A checkpoint, and how many prompts it is asked.
CASES = [("plain", 1), ("forgetful", 2), ("reconditioning", 3)]
PROMPTS = ("a", "bc", "dog")

Shown = list[dict[int, tuple[str, bytes]]]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request: pytest.FixtureRequest) -> tuple[Path, int]:
    name, count = request.param
    return request.getfixturevalue(name), count


@cache
def mended(checkpoint: Path, prompts: int) -> list[stock.Reference]:
    return stock.run(
        checkpoint,
        videos.make(FRAMES),
        PROMPTS[:prompts],
        mended=True,
        all_pointers=False,
    )


@cache
def unchanged(checkpoint: Path, prompts: int) -> list[stock.Reference]:
    return stock.run(checkpoint, videos.make(FRAMES), PROMPTS[:prompts])


@cache
def results(checkpoint: Path, prompts: int, lookahead: int) -> list[FrameResult]:
    predictor = Sam3Predictor(str(checkpoint), lookahead=lookahead)
    session = predictor.open(videos.INFO, Query(PROMPTS[:prompts]))
    return videos.track(session, videos.make(FRAMES))


def ours(checkpoint: Path, prompts: int, lookahead: int) -> Shown:
    return videos.shown(results(checkpoint, prompts, lookahead))


def shown(reference: list[stock.Reference]) -> Shown:
    return [
        {i + 1: (prompt, mask.tobytes()) for i, (prompt, mask) in frame.masks.items()}
        for frame in reference
    ]


@pytest.mark.parametrize("lookahead", [1, 4, 8])
def test_ids_prompts_and_masks_are_those_of_transformers(
    case: tuple[Path, int], lookahead: int
) -> None:
    assert ours(*case, lookahead) == shown(mended(*case))


def test_detection_scores_are_those_of_transformers(case: tuple[Path, int]) -> None:
    for mine, theirs in zip(results(*case, 1), mended(*case), strict=True):
        for each in mine.objects:
            expected = theirs.detection_scores[each.object_id - 1]
            assert each.detection_score == pytest.approx(expected, abs=1e-6)


def test_where_unchanged_transformers_differs_it_is_known_to_be_wrong(
    case: tuple[Path, int],
) -> None:
    """Where hotstart removes objects, and from the fifth conditioning frame on."""
    reference = unchanged(*case)
    removed_before: set[int] = set()
    conditioning = 1
    for mine, theirs, frame in zip(ours(*case, 1), shown(reference), reference, strict=True):
        conditioning += bool(frame.reconditioned)
        if conditioning > 4:
            break
        if frame.removed == removed_before:
            assert mine == theirs
        removed_before = frame.removed


def test_the_cases_are_eventful(plain: Path, forgetful: Path, reconditioning: Path) -> None:
    """The comparison would be worth little if nothing happened."""
    few = mended(plain, 1)
    assert few[-1].removed
    assert all(frame.masks for frame in few)
    many = mended(forgetful, 2)
    emptied = [t for t in range(1, FRAMES) if set(many[t].logits) <= many[t].removed]
    assert emptied, "hotstart removes all objects at once"
    assert set(many[-1].masks) - many[-1].removed, "and others come"
    renewed = mended(reconditioning, 3)
    assert sum(bool(frame.reconditioned) for frame in renewed) > 4
    assert max(len(frame.masks) for frame in renewed) > 3


def test_masks_keep_their_ids_where_hotstart_removes_an_object(plain: Path) -> None:
    frames, prompts = videos.make(FRAMES), PROMPTS[:2]
    reference = stock.run(plain, frames, prompts)
    session = Sam3Predictor(str(plain), lookahead=1).open(videos.INFO, Query(tuple(prompts)))
    session.step(frames[:5])
    session.state()  # lets the session track all that it was given
    swapped = []
    for mine, theirs in zip(session._tracked, reference, strict=False):
        logits = dict(zip(mine.ids, mine.masks, strict=True))
        for i, truth in theirs.tracked.items():
            torch.testing.assert_close(logits[i], truth, atol=1e-4, rtol=0)
            if i in theirs.logits and not torch.equal(theirs.logits[i], truth):
                swapped.append((mine.index, i))
    session.close()
    assert swapped, "transformers still gives some object the mask of another"
