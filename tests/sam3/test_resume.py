"""A session continues from its state in another process as if nothing had happened."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import CheckpointUnusable
from tests.running import ROOT
from tests.sam3 import videos
from worker.engines.base import Query
from worker.engines.sam3.predictor import Sam3Predictor

FRAMES, CUT = 30, 17

# A checkpoint, its prompts, and the lookahead: 17 frames fill no batch of 4.
CASES = [("forgetful", ("a",), 1), ("reconditioning", ("a", "bc"), 4)]

CONTINUE = """
import pickle, sys, torch
from pathlib import Path
from tests.sam3 import tiny, videos
from worker.engines.base import Query
from worker.engines.sam3.predictor import Sam3Predictor
torch.set_num_threads(1)
checkpoint, cut, frames, lookahead, folder, *prompts = sys.argv[1:]
predictor = Sam3Predictor(checkpoint, lookahead=int(lookahead))
state = (Path(folder) / "state").read_bytes()
session = predictor.open(videos.INFO, Query(tuple(prompts)), state)
rest = videos.make(int(frames))[int(cut):]
(Path(folder) / "rest").write_bytes(pickle.dumps(videos.track(session, rest)))
"""


@pytest.mark.parametrize(
    ("checkpoint", "prompts", "lookahead"), CASES, ids=[f"{c}-{n}" for c, _, n in CASES]
)
def test_a_fresh_process_continues_with_the_output_of_an_uninterrupted_run(
    checkpoint: str,
    prompts: tuple[str, ...],
    lookahead: int,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    weights = str(request.getfixturevalue(checkpoint))
    frames = videos.make(FRAMES)
    predictor = Sam3Predictor(weights, lookahead=lookahead)
    straight = videos.track(predictor.open(videos.INFO, Query(prompts)), frames)

    session = predictor.open(videos.INFO, Query(prompts))
    before = [result for frame in frames[:CUT] for result in session.step([frame])]
    (tmp_path / "state").write_bytes(session.state())
    session.close()
    numbers = [str(CUT), str(FRAMES), "8"]  # its own lookahead would be another
    subprocess.run(
        [sys.executable, "-c", CONTINUE, weights, *numbers, str(tmp_path), *prompts],
        cwd=ROOT,
        check=True,
    )
    after = pickle.loads((tmp_path / "rest").read_bytes())

    assert [result.index for result in before + after] == list(range(FRAMES))
    assert videos.shown(before + after) == videos.shown(straight)
    scores = [
        [[(each.score, each.detection_score) for each in result.objects] for result in results]
        for results in (before + after, straight)
    ]
    assert scores[0] == scores[1]
    assert len(before) < CUT, "some results were owed when the session was cut"


def test_writing_the_state_down_changes_nothing(predictor: Sam3Predictor) -> None:
    frames, prompts = videos.make(24), ("a", "bc")
    straight = videos.track(predictor.open(videos.INFO, Query(prompts)), frames)
    session = predictor.open(videos.INFO, Query(prompts))
    results = []
    for frame in frames:
        results += session.step([frame])
        assert session.state() == session.state()
    results += session.finish()
    session.close()
    assert videos.shown(results) == videos.shown(straight)


def test_the_state_is_safetensors_with_a_json_header(predictor: Sam3Predictor) -> None:
    session = predictor.open(videos.INFO, Query(("a",)))
    assert _header(session.state())["objects"] == []
    session.step(videos.make(3))
    text = _header(session.state())
    session.close()
    assert (text["version"], text["frame"], len(text["owed"])) == (5, 3, 3)
    assert text["objects"]


@pytest.mark.parametrize(
    ("fact", "value"), [("version", 0), ("weights", "others"), ("size", [1, 1])]
)
def test_a_state_that_does_not_fit_is_refused(
    predictor: Sam3Predictor, fact: str, value: object
) -> None:
    session = predictor.open(videos.INFO, Query(("a",)))
    session.step(videos.make(2))
    state = session.state()
    session.close()
    with pytest.raises(CheckpointUnusable, match="prompts"):
        predictor.open(videos.INFO, Query(("b",)), state)
    length = int.from_bytes(state[:8], "little")
    header = json.loads(state[8 : 8 + length])
    text = json.loads(header["__metadata__"]["session"]) | {fact: value}
    header["__metadata__"]["session"] = json.dumps(text)
    changed = json.dumps(header).encode()
    with pytest.raises(CheckpointUnusable, match=fact):
        predictor.open(
            videos.INFO,
            Query(("a",)),
            len(changed).to_bytes(8, "little") + changed + state[8 + length :],
        )


@pytest.mark.parametrize("harm", ["cut", "header", "empty"])
def test_a_damaged_state_is_refused(predictor: Sam3Predictor, harm: str) -> None:
    session = predictor.open(videos.INFO, Query(("a",)))
    session.step(videos.make(2))
    state = session.state()
    session.close()
    broken = {"cut": state[:-100], "header": state[:8] + b"?" + state[9:], "empty": b""}[harm]
    with pytest.raises(CheckpointUnusable, match="damaged"):
        predictor.open(videos.INFO, Query(("a",)), broken)


def _header(state: bytes) -> dict[str, Any]:
    length = int.from_bytes(state[:8], "little")
    text: dict[str, object] = json.loads(
        json.loads(state[8 : 8 + length])["__metadata__"]["session"]
    )
    return text
