"""What runs beside what: threads and CUDA streams of a predictor, for all its sessions.

A session of its own threads and streams would pay for them with each video: cuDNN's plans are
kept by thread, the allocator's blocks by stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import av
import torch
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the encoder made, and when it will be there.

    Attributes:
        done: None without CUDA.
    """

    tensors: tuple[Tensor, ...]
    done: torch.cuda.Event | None


class Streams:
    """Uploads, the encoder and the tracker beside each other.

    Tracking and drawing share the device's default stream. Without CUDA there are the threads
    alone, and a tensor is where it belongs from the start.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        cuda = device.type == "cuda"
        self._uploads = torch.cuda.Stream(device) if cuda else None
        self._encoder = torch.cuda.Stream(device) if cuda else None
        self._encoding = ThreadPoolExecutor(1, "sam3-encode")
        self._tracking = ThreadPoolExecutor(1, "sam3-track")

    def encode(self, work: Callable[..., T], *args: object) -> Future[T]:
        """Have something done in the encoder's thread."""
        return self._encoding.submit(work, *args)

    def track(self, work: Callable[..., T], *args: object) -> Future[T]:
        """Have something done in the tracker's thread."""
        return self._tracking.submit(work, *args)

    def aside(self) -> torch.cuda.StreamContext:
        """Within, copies and kernels run beside those of the network."""
        return torch.cuda.stream(self._uploads)

    def encoder(self) -> torch.cuda.StreamContext:
        """Within, kernels run beside those of the tracker."""
        return torch.cuda.stream(self._encoder)

    def send(self, tensor: Tensor) -> Tensor:
        """Start to copy a tensor to the device; to be called ``aside``."""
        if self._uploads is None:
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def arrived(self, tensors: Sequence[Tensor]) -> Tensor:
        """Stack what was made ``aside``, once it is there, in the stream that asks for it."""
        if self._uploads is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._uploads)
            self._lend(tensors)
        return torch.stack(list(tensors))

    def hand_out(self, tensors: Iterable[Tensor]) -> Encoded:
        """Mark what the ``encoder`` has made so far; to be called within."""
        done = torch.cuda.current_stream(self._device).record_event() if self._encoder else None
        return Encoded(tuple(tensors), done)

    def take_over(self, encoded: Encoded) -> None:
        """Have the stream that asks wait for what the encoder made."""
        if encoded.done is not None:
            torch.cuda.current_stream(self._device).wait_event(encoded.done)
            self._lend(encoded.tensors)

    def _lend(self, tensors: Iterable[Tensor]) -> None:
        """Keep memory of another stream in use until the stream that asks has read it."""
        stream = torch.cuda.current_stream(self._device)
        for tensor in tensors:
            tensor.record_stream(stream)


def to_pixels(
    picture: av.VideoFrame, processor: Any, streams: Streams, dtype: torch.dtype
) -> Tensor:
    """A picture as the processor makes it, (3, S, S), on the device."""
    rgb = torch.from_numpy(picture.to_ndarray(format="rgb24"))
    with streams.aside():
        made = processor(
            images=streams.send(rgb).permute(2, 0, 1),
            input_data_format="channels_first",
            return_tensors="pt",
        )
        pixels: Tensor = made.pixel_values[0].to(dtype)
    return pixels
