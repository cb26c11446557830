"""On the path of a worker that a test starts: torchvision loads also beside a torch for the CPU.

Python imports a module of this name when it starts. The parent of a worker must not load torch, so
this only waits for torchvision to be imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class BeforeTorchvision(MetaPathFinder):
    """Has tests.sam3.torchvision_on_cpu imported first."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            importlib.import_module("tests.sam3.torchvision_on_cpu")
        return None


sys.meta_path.insert(0, BeforeTorchvision())
