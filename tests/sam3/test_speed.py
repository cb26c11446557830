"""What makes the engine fast changes nothing of its output."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from tests.sam3 import tiny, videos
from tests.sam3.launches import Launches
from worker.engines import cuda
from worker.engines.base import Query
from worker.engines.sam3 import session as sessions, warmup, weights
from worker.engines.sam3.lookahead import Lookahead, look_ahead
from worker.engines.sam3.predictor import Sam3Predictor
from worker.engines.sam3.session import Sam3Session
from worker.engines.sam3.streams import Streams
from worker.engines.sam3.tracker import Tracked
from worker.engines.sam3.warmup import compile_parts

# Of a frame with ten objects and two prompts: kernels of tracking and drawing it, and waits of the
# host for the device in all that is done for it.
MAX_LAUNCHES, MAX_WAITS = 400, 8


@pytest.mark.timeout(900)  # the compiler takes minutes on a busy machine
def test_compiled_parts_are_whole_graphs_and_give_the_same_masks(
    plain: Path, predictor: Sam3Predictor
) -> None:
    """Captured as for a GPU, but run as they are: to generate code takes minutes on a CPU."""
    counters.clear()
    compiled = Sam3Predictor(str(plain), compile_with="eager")
    frames = videos.make(3)
    results = videos.track(compiled.open(videos.INFO, Query(("a",))), frames)
    straight = videos.track(predictor.open(videos.INFO, Query(("a",))), frames)
    assert videos.shown(results) == videos.shown(straight)
    assert any(result.objects for result in results)
    assert counters["stats"]["unique_graphs"] >= 5
    assert not counters["graph_break"]
    assert compiled.versions["compiled_with"] == "eager", "its states are no other engine's"
    assert "compiled_with" not in predictor.versions


def test_the_parts_that_take_the_time_are_compiled(plain: Path) -> None:
    model: Any = Sam3Predictor(str(plain))._loaded.model
    compile_parts(model, "eager")
    compiled = {name for name, module in model.named_modules() if module._compiled_call_impl}
    assert compiled == {
        "detector_model",
        "detector_model.vision_encoder",
        "tracker_model.memory_attention",
        "tracker_model.memory_encoder",
        "tracker_model.mask_decoder",
    }


def test_warming_up_tracks_one_and_several_objects(
    predictor: Sam3Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: set[int] = set()
    track = Sam3Session._track

    def watched(session: Sam3Session, *args: Any) -> list[Tracked]:
        tracked = track(session, *args)
        counts.update(len(each.ids) for each in tracked)
        return tracked

    monkeypatch.setattr(Sam3Session, "_track", watched)
    warmup.warm_up(predictor)
    assert min(counts) >= 1
    assert max(counts) >= 3


HERE = "worker.engines.sam3.predictor"


class Pretended:
    """Lets the engine take the CPU for a GPU while it is loaded."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        load, cpu = weights.load, torch.device("cpu")
        patch.setattr(cuda, "choose", lambda: cuda.CudaDevice(0, "GPU", self.capability))
        patch.setattr(
            f"{HERE}.weights.load", lambda at, revision, _, dtype: load(at, revision, cpu, dtype)
        )
        patch.setattr(f"{HERE}.Streams", lambda _: Streams(cpu))
        patch.setattr(f"{HERE}.compile_parts", lambda *_: self.done.append("compiled"))
        patch.setattr(f"{HERE}.warm_up", lambda _: self.done.append("warm"))
        patch.setattr(f"{HERE}.activate_flash_attention_impl", self.done.append)

    capability = (8, 0)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    return Pretended(monkeypatch)


def test_a_gpu_is_warm_before_the_first_job(plain: Path, pretended: Pretended) -> None:
    predictor = Sam3Predictor(str(plain), compile_with="inductor")
    assert pretended.done == ["compiled", "warm"]
    assert predictor._loaded.model.dtype == torch.bfloat16
    assert predictor.device == "cuda:0 GPU"


@pytest.mark.parametrize(
    ("capability", "active"), [((9, 0), True), ((8, 0), False), ((10, 0), False)]
)
def test_flash_attention_3_is_used_where_it_is_installed(
    plain: Path,
    pretended: Pretended,
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    active: bool,
) -> None:
    find = importlib.util.find_spec
    installed = {cuda.FA3_PACKAGE}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: name in installed or find(name, *a)
    )
    pretended.capability = capability
    predictor = Sam3Predictor(str(plain))
    assert pretended.done == ["FA3", "warm"][not active :]
    assert predictor.versions.get("attention") == ("FA3" if active else None)
    installed.clear()
    pretended.done.clear()
    Sam3Predictor(str(plain))
    assert pretended.done == ["warm"]


def test_without_a_compiler_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "device", lambda: cuda.CudaDevice(0, "GPU", (8, 0)))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert not cuda.compiles()
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: True)
    assert cuda.compiles()
    monkeypatch.setattr(cuda, "device", lambda: cuda.CudaDevice(0, "GPU", (7, 5)))
    assert not cuda.compiles()


def test_the_allocator_is_configured_before_torch_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys, worker.model_process; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    cuda.configure_allocator()
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "backend:cudaMallocAsync")
    cuda.configure_allocator()
    assert os.environ["PYTORCH_ALLOC_CONF"] == "backend:cudaMallocAsync"


# --- launches and waits -----------------------------------------------------------------------


def crowd(checkpoint: Path, count: int, patch: pytest.MonkeyPatch) -> Sam3Session:
    """A session with so many objects of two prompts, after its memories have filled."""
    predictor = Sam3Predictor(str(checkpoint))
    model = predictor._loaded.model
    model.max_num_objects = count
    side = model.low_res_mask_size
    bars = torch.full((count, side, side), -10.0)
    for n in range(count):
        top = n * side // count
        bars[n, top : top + max(1, side // count - 1), side // 4 : side // 2] = 10.0

    def forced(*args: Any) -> list[Lookahead]:
        scores, prompts = torch.full((count,), 0.9), [n % 2 for n in range(count)]
        return [
            replace(seen, masks=bars.clone(), scores=scores, prompts=prompts)
            for seen in look_ahead(*args)
        ]

    patch.setattr(sessions, "look_ahead", forced)
    session = predictor.open(videos.INFO, Query(("a", "bc")))
    session.step(videos.make(20))
    session._catch_up()
    session._settled(last=True)
    assert len(session._tracker.memory.obj_ids) == count
    return session


@pytest.mark.parametrize("count", [1, 10])
def test_launches_and_waits_of_a_frame_stay_within_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    checkpoint = tiny.save_checkpoint(tmp_path, hotstart_delay=0)
    session = crowd(checkpoint, count, monkeypatch)
    ahead, behind = Launches(), Launches()
    pixels = session._pixels(videos.make(21)[20])
    (seen,) = ahead.within(
        vars(sessions)["look_ahead"], session._model, session._prompts, pixels[None]
    )
    session._tracked.append(behind.within(session._tracker.track, 20, seen))
    behind.within(session._settled, True)
    session.close()
    assert 100 < behind.launches.total() <= MAX_LAUNCHES, behind.launches.most_common()
    waits = ahead.waits + behind.waits
    assert 3 <= waits.total() <= MAX_WAITS, waits


# --- the encoder beside the tracker -----------------------------------------------------------


def test_the_encoder_runs_beside_the_tracker_and_changes_nothing(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch of the encoder after the first waits until the tracker is at the one before."""
    predictor = Sam3Predictor(str(plain), lookahead=2)
    frames, query = videos.make(8), Query(("a", "bc"))
    expected = videos.shown(videos.track(predictor.open(videos.INFO, query), frames))
    tracking, encoded = threading.Event(), threading.Semaphore(0)
    overlaps: list[bool] = []
    look, track = Sam3Session._look, Sam3Session._track

    def slow_look(session: Sam3Session, batch: Any, size: int) -> Any:
        if session._tracker.frame or tracking.is_set():
            overlaps.append(tracking.wait(60))
        seen = look(session, batch, size)
        encoded.release()
        return seen

    def slow_track(session: Sam3Session, batch: Any, seen: Any) -> Any:
        seen.result()
        tracking.set()
        if batch[0][0] < len(frames) - 2:
            encoded.acquire(timeout=60)  # its own
            assert encoded.acquire(timeout=60), "the next batch is encoded meanwhile"
            encoded.release()
        return track(session, batch, seen)

    monkeypatch.setattr(Sam3Session, "_look", slow_look)
    monkeypatch.setattr(Sam3Session, "_track", slow_track)
    session = predictor.open(videos.INFO, query)
    assert videos.shown(videos.track(session, frames)) == expected
    assert overlaps
    assert all(overlaps)


def test_without_a_gpu_nothing_is_copied() -> None:
    streams = Streams(torch.device("cpu"))
    tensor = torch.arange(6.0)
    with streams.aside():
        assert streams.send(tensor) is tensor
    assert torch.equal(streams.arrived([tensor, -tensor]), torch.stack([tensor, -tensor]))
    with streams.encoder():
        streams.take_over(streams.hand_out([tensor]))


@pytest.mark.gpu
def test_what_is_uploaded_beside_a_computation_arrives() -> None:
    device = torch.device("cuda:0")
    streams = Streams(device)
    load = torch.randn(4096, 4096, device=device)
    for n in range(50):
        for _ in range(4):
            load = (load @ load).clamp(-1, 1)
        sent = []
        for k in range(4):
            with streams.aside():
                sent.append(streams.send(torch.full((1080, 1920), float(n + k))) * 2)
        arrived = streams.arrived(sent)
        del sent
        assert arrived.amax((1, 2)).tolist() == [2.0 * (n + k) for k in range(4)]
        assert torch.equal(arrived.amin((1, 2)), arrived.amax((1, 2)))


# --- on a GPU ---------------------------------------------------------------------------------


@pytest.mark.gpu
def test_on_a_gpu_in_float32_objects_are_those_of_the_cpu(
    plain: Path, predictor: Sam3Predictor
) -> None:
    """The same objects, and masks that differ in a few pixels at their edges; two videos, as the
    second one finds the allocator's memory and the kernels of the first."""
    on_gpu = Sam3Predictor(str(plain), lookahead=4)
    on_gpu._loaded.model.float()
    query, frames = Query(("a", "bc")), videos.make(20)
    expected = videos.track(predictor.open(videos.INFO, query), frames)
    for _ in range(2):
        found = videos.track(on_gpu.open(videos.INFO, query), frames)
        for one, other in zip(expected, found, strict=True):
            assert [o.object_id for o in one.objects] == [o.object_id for o in other.objects]
            for a, b in zip(one.objects, other.objects, strict=True):
                size = videos.HEIGHT, videos.WIDTH
                assert (a.mask.to_full(*size) != b.mask.to_full(*size)).mean() < 0.01


@pytest.mark.gpu
def test_on_a_gpu_a_state_continues_as_if_nothing_had_happened(plain: Path) -> None:
    predictor = Sam3Predictor(str(plain), lookahead=4)
    query, frames = Query(("a", "bc")), videos.make(20)
    expected = videos.shown(videos.track(predictor.open(videos.INFO, query), frames))
    session = predictor.open(videos.INFO, query)
    results = session.step(frames[:9])
    session = predictor.open(videos.INFO, query, session.state())
    results += session.step(frames[9:]) + session.finish()
    session.close()
    assert videos.shown(results) == expected


@pytest.mark.gpu
def test_on_a_gpu_little_memory_is_enough(plain: Path) -> None:
    """A share of the device's memory; passes are made smaller until they fit."""
    predictor = Sam3Predictor(str(plain), lookahead=8)
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        results = videos.track(predictor.open(videos.INFO, Query(("a",))), videos.make(20))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any(result.objects for result in results)
