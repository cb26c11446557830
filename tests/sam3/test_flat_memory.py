"""Nothing grows with the video."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from tests.sam3 import tiny, videos
from worker.engines.base import Query
from worker.engines.sam3.predictor import Sam3Predictor
from worker.engines.sam3.session import Sam3Session

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


def test_nothing_grows_over_800_frames(tmp_path: Path) -> None:
    """One small object, whose memory is renewed every fourth frame.

    The state at frame 600 is as large as at frame 60; containers, tensors and the memory of the
    process are at frame 800 what they were at frame 200.
    """
    checkpoint = tiny.save_checkpoint(
        tmp_path,
        size=56,
        recondition_every_nth_frame=4,
        high_iou_thresh=0.0,
        hotstart_unmatch_thresh=15,
        hotstart_dup_thresh=15,
        max_num_objects=1,
    )
    process = psutil.Process()
    session = Sam3Predictor(str(checkpoint)).open(videos.INFO, Query(("a",)))
    sizes, items, tensors, resident = {}, {}, {}, {}
    renewed = set()
    for frame in videos.stream(800):
        session.step([frame])
        if (number := frame.index + 1) in (60, 600):
            sizes[number] = len(session.state())
        if number < 100:
            for outputs in session._tracker.memory.output_dict_per_obj.values():
                renewed |= set(outputs["cond_frame_outputs"])
        if number in (200, 800):
            session.state()  # lets the session track all that it was given
            items[number], tensors[number] = containers(session), tensor_bytes()
            resident[number] = process.memory_info().rss
    session.close()
    assert len(renewed) > 10
    assert sizes[600] == pytest.approx(sizes[60], rel=0.01)
    assert items[800] <= items[200] * 1.05
    assert tensors[800] == pytest.approx(tensors[200], rel=0.01)
    assert resident[800] - resident[200] < 12 * 2**20  # 600 frames of pixels alone are 22 MB


def test_a_crowd_that_comes_and_goes_leaves_nothing_behind(forgetful: Path) -> None:
    """Dozens of objects are removed along the way."""
    session = Sam3Predictor(str(forgetful)).open(videos.INFO, Query(PROMPTS))
    sizes = {}
    for frame in videos.stream(80):
        session.step([frame])
        session.state()
        memory = session._tracker.memory
        alive = set(memory.obj_ids)
        for history in (memory.obj_id_to_score, memory.trk_keep_alive, memory.obj_id_to_prompt_id):
            assert set(history) == alive
        sizes[frame.index] = containers(session) / max(len(alive), 1)
    assert memory.max_obj_id > 20
    assert max(list(sizes.values())[40:]) <= max(list(sizes.values())[:40])
    session.close()
