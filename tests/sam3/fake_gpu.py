"""A GPU without one: tensors of a device of its own that have shapes and no values.

Under ``FakeTensorMode`` an operation on tensors of two devices raises, and so does one that needs a
value of the device, such as ``.item()`` or ``nonzero``. What is left for the host to read are its
copies by ``Tensor.cpu``: these are counted, and answered with real numbers.

A build of torch for CPUs cannot take ``cuda`` for this: indexing and copies ask for its device
guard, which is not there ("PyTorch is not linked with support for cuda devices"). The device that
torch leaves to others (PrivateUse1) gets a guard of ours that does nothing.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.sam3 import torchvision_on_cpu  # noqa: F401  # isort: skip - before torchvision

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils.backend_registration import rename_privateuse1_backend
from transformers import Sam3ImageProcessor, Sam3VideoConfig, Sam3VideoModel

from worker.engines.base import Query
from worker.engines.sam3 import tracker
from worker.engines.sam3.constants import prepare
from worker.engines.sam3.lookahead import encode_prompts
from worker.engines.sam3.plan import Facts
from worker.engines.sam3.session import Fits, Sam3Session
from worker.engines.sam3.streams import Streams
from worker.engines.sam3.weights import LoadedModel
from worker.video.frame import VideoInfo

DEVICE = "gpu:0"
T = TypeVar("T")

rename_privateuse1_backend("gpu")


class _Guard(torch._C._acc.DeviceGuard):
    """There is one device, and it is always the current one."""

    def type_(self) -> Any:
        return torch._C._autograd.DeviceType.PrivateUse1


GUARD = _Guard()  # torch keeps no reference
torch._C._acc.register_python_privateuseone_device_guard(GUARD)


class FakeGpu(TorchFunctionMode):
    """Within ``on``, a GPU.

    Attributes:
        waits: copies to the host, by shape.
        found: of each prompt, queries whose score the host reads as 0.9.
    """

    def __init__(self, found: int) -> None:
        super().__init__()
        self.waits: Counter[tuple[int, ...]] = Counter()
        self.found = found
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    @contextmanager
    def on(self) -> Iterator[None]:
        with self._mode, self, torch.inference_mode():
            yield

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.pin_memory:
            return args[0]
        if func is Tensor.cpu and args[0].device.type == "gpu":
            self.waits[tuple(args[0].shape)] += 1
            return self._read(args[0])
        answer = func(*args, **kwargs or {})
        if func is torch.tensor:  # its value is known, and would be copied to the device for real
            answer.constant = None
        return answer

    def _read(self, tensor: Tensor) -> Any:
        """What the host gets: zeros, or the detector's scores, (B, P, Q)."""
        values = np.zeros(tensor.shape, str(tensor.dtype).rpartition(".")[2])
        if tensor.ndim == 3 and tensor.is_floating_point():
            values[..., : self.found] = 0.9
        return _OnHost(values)


class _OnHost:
    """A tensor of the host, as far as it is read."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def numpy(self) -> Any:
        return self._values


class InlineStreams(Streams):
    """One thread and one stream: modes of torch belong to a thread, streams to a driver."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))

    def encode(self, work: Callable[..., T], *args: object) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(work(*args))
        return done

    track = encode

    def send(self, tensor: Tensor) -> Tensor:
        return tensor.to(DEVICE)


def model_on(gpu: FakeGpu, config: Sam3VideoConfig) -> Sam3VideoModel:
    """A model without values on the GPU."""
    with torch.device("meta"):  # nothing is initialized there
        built: Any = Sam3VideoModel._from_config(config, dtype=torch.bfloat16)
    with gpu.on():
        model: Sam3VideoModel = built.eval()._apply(lambda t: torch.empty_like(t, device=DEVICE))
        prepare(model)
    return model


def session_on(model: Sam3VideoModel, side: int, video: VideoInfo, query: Query) -> Sam3Session:
    """A session of the engine; to be called within ``FakeGpu.on``.

    Args:
        side: of the square that frames are scaled to, in pixels.
    """
    config: Any = model.config
    limit = config.detector_config.text_config.max_position_embeddings
    ids = torch.ones(1, limit, dtype=torch.int64, device=DEVICE)
    tokens = [{"input_ids": ids, "attention_mask": ids}] * len(query.concepts)
    prompts = encode_prompts(model, tokens, query.concepts)
    processor = Sam3ImageProcessor(size={"height": side, "width": side})
    loaded = LoadedModel(model, processor, "none")
    return Sam3Session(loaded, video, query, prompts, Fits(1, 32), InlineStreams())


def same_objects(seen: Any, masks: Tensor, presence: Tensor) -> Facts:
    """In place of ``Facts.gather``: all it does, but each track is the detection of its number."""
    Facts.gather(seen, masks, presence)
    found, tracked = len(seen.masks), len(masks)
    overlap = np.concatenate([np.eye(tracked, found), np.eye(tracked)], 1, dtype=np.float32)
    sure = np.ones(tracked, np.float32)
    return Facts(overlap, 400 * sure, np.full(found, 0.9, np.float32), 10 * sure, sure)


class _SameObjects:
    gather = staticmethod(same_objects)


@contextmanager
def steady_objects() -> Iterator[None]:
    """Within, what was found once is found on every frame."""
    patched: Any = tracker
    patched.Facts = _SameObjects
    try:
        yield
    finally:
        patched.Facts = Facts


def bytes_on_device() -> int:
    """Of all tensors alive, each storage once."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) is FakeTensor and thing.device.type == "gpu":
            storage = thing.untyped_storage()
            storages[storage._cdata] = storage.nbytes()
    return sum(storages.values())
