"""What one frame costs beside arithmetic: kernels that are launched, and waits for their results.

Counted on the CPU, where every operation that is not a view stands for a kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Operations of which the host must know the result, or the size of it, before it can go on.
WAITS = ("_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "masked_select", "equal")
READS = (torch.Tensor.cpu, torch.Tensor.tolist, torch.Tensor.numpy)
NO_KERNELS = ("empty", "detach", "alias", "lift_fresh", "_local_scalar_dense")


class _Operations(TorchDispatchMode):
    def __init__(self, launches: Counter[str], waits: Counter[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._launches, self._waits = launches, waits

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.partition("::")[2]
        if not func.is_view and not name.startswith(NO_KERNELS):
            self._launches[name] += 1
        if name in WAITS:
            self._waits[name] += 1
        if name in ("index", "index_put", "index_put_") and any(
            each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1]
        ):
            self._waits["bool index"] += 1
        return func(*args, **kwargs or {})


class _Reads(TorchFunctionMode):
    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in READS and not getattr(args[0], "is_on_host", False):
            self._waits[func.__name__] += 1
        answer = func(*args, **kwargs or {})
        if func is torch.Tensor.cpu:
            answer = answer.view_as(answer)  # a tensor of its own: the other stays on the device
            answer.is_on_host = True
        return answer


class Launches:
    """Counts what is done ``within``.

    Attributes:
        launches: operations that are not views, by name.
        waits: copies to the host, and operations that wait for the device, by name.
    """

    def __init__(self) -> None:
        self.launches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def within(self, work: Callable[..., Any], *args: Any) -> Any:
        with _Reads(self.waits), _Operations(self.launches, self.waits):
            return work(*args)
