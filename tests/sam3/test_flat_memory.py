"""Nothing grows with the video."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from tests.sam3 import videos
from worker.predictors.base import Query
from worker.predictors.sam3.predictor import Sam3Predictor
from worker.predictors.sam3.session import Sam3Session

PROMPTS = ("a", "bc")


def count(tree: object) -> Iterator[int]:
    """The sizes of all containers within nested ones."""
    if isinstance(tree, dict | list | set | tuple):
        yield len(tree)
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from count(each)


def containers(session: Sam3Session) -> int:
    return sum(count(session._tracker.memory.__dict__))


def tensor_bytes() -> int:
    """Bytes of all tensors alive, each storage once."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) is torch.Tensor:
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def test_state_and_session_are_as_large_late_as_early(reconditioning: Path) -> None:
    """At frames 60 and 180: more would take long on a CPU."""
    session = Sam3Predictor(str(reconditioning)).open(videos.INFO, Query(PROMPTS))
    sizes, items, tensors = [], [], []
    for frame in videos.stream(181):
        session.step([frame])
        if frame.index in (60, 180):
            sizes.append(len(session.state()))
            items.append(containers(session))
            tensors.append(tensor_bytes())
    session.close()
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)
    assert items[1] <= items[0] * 1.05
    assert tensors[1] == pytest.approx(tensors[0], rel=0.01)


def test_a_crowd_that_comes_and_goes_leaves_nothing_behind(forgetful: Path) -> None:
    """Dozens of objects are removed along the way."""
    session = Sam3Predictor(str(forgetful)).open(videos.INFO, Query(PROMPTS))
    sizes = {}
    for frame in videos.stream(120):
        session.step([frame])
        session.state()
        memory = session._tracker.memory
        alive = set(memory.obj_ids)
        for history in (memory.obj_id_to_score, memory.trk_keep_alive, memory.obj_id_to_prompt_id):
            assert set(history) == alive
        sizes[frame.index] = containers(session) / max(len(alive), 1)
    assert memory.max_obj_id > 20
    assert max(list(sizes.values())[60:]) <= max(list(sizes.values())[:60])
    session.close()


def test_host_memory_does_not_grow_over_many_frames(predictor: Sam3Predictor) -> None:
    process = psutil.Process(os.getpid())
    session = predictor.open(videos.INFO, Query(("a",)))
    resident = []
    for frame in videos.stream(400):
        session.step([frame])
        if frame.index in (100, 399):
            gc.collect()
            resident.append(process.memory_info().rss)
    session.close()
    assert resident[1] - resident[0] < 16 * 2**20  # 300 frames of pixels alone are 45 MB
