"""Frames on their way to the device, beside what it computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Uploads:
    """Copies that wait for no computation: they have a stream of their own, and pinned memory.

    Without CUDA a tensor is where it belongs from the start.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def aside(self) -> torch.cuda.StreamContext:
        """Within, kernels run beside those of the network, too."""
        return torch.cuda.stream(self._stream)

    def send(self, tensor: Tensor) -> Tensor:
        """Start to copy a tensor to the device; to be called ``aside``."""
        if self._stream is None:
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def arrived(self, tensors: Sequence[Tensor]) -> Tensor:
        """Stack what was made ``aside``, once it is there, in the stream that asks for it."""
        if self._stream is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_stream(self._stream)
            for tensor in tensors:
                tensor.record_stream(stream)  # its memory is in use until the stream has read it
        return torch.stack(list(tensors))
