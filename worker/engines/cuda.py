"""The CUDA device of this machine: whether this build of torch can use it, and in which precision.

What is decided here is said by ``shoal doctor`` too, and documented by GPU in docs/engines.md.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shoal.errors import ModelLoadFailed

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

MIN_DRIVER = 580  # of CUDA 13.0, for which torch's wheels on PyPI are built
DEVICES = Path("/dev")
DRIVER = Path("/proc/driver/nvidia/version")  # of the kernel module; containers see it, too

# The last builds of torch with kernels for Volta (7.0) and older: those for CUDA 12.6. Since
# CUDA 13 there are none (RELEASE.md of pytorch/pytorch, support matrix).
OLDER_BUILD = (
    "Install torch and torchvision from https://download.pytorch.org/whl/cu126, which serves "
    "Maxwell to Hopper and takes drivers from 560 on, or use another GPU."
)
BFLOAT16_FROM = (8, 0)  # fused attention takes bfloat16 from Ampere on; before, float16
FA3_ON = (9, 0)  # FlashAttention 3 has kernels for Hopper only
FA3_PACKAGE = "flash_attn_interface"
FLASH_3 = "FlashAttention 3"


def configure_allocator() -> None:
    """Let memory blocks grow; to be called before torch is imported.

    The sizes of what SAM 3 allocates change with the number of objects, and memory would fragment.
    """
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")


@dataclass(frozen=True, slots=True)
class CudaDevice:
    """A device as torch sees it.

    Attributes:
        index: of torch's.
        capability: compute capability, major and minor.
    """

    index: int
    name: str
    capability: tuple[int, int]

    @property
    def dtype(self) -> torch.dtype:
        """The fastest one for which torch has fused attention on it."""
        import torch

        return torch.bfloat16 if self.capability >= BFLOAT16_FROM else torch.float16

    @property
    def attention(self) -> str:
        """The kernel that its attention gets, in words."""
        from importlib.util import find_spec

        if self.capability == FA3_ON and find_spec(FA3_PACKAGE):
            return FLASH_3
        return "FlashAttention 2" if self.capability >= BFLOAT16_FROM else "memory-efficient"

    def __str__(self) -> str:
        return f"cuda:{self.index} {self.name}"


def is_wanted() -> bool:
    """Whether this machine has an NVIDIA device that nobody hid with CUDA_VISIBLE_DEVICES."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    return any(DEVICES.glob("nvidia[0-9]*"))


def driver() -> str:
    """The version of NVIDIA's driver, such as 580.95.05; empty if it is not known."""
    try:
        found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", DRIVER.read_text())
    except OSError:
        return ""
    return found[0] if found else ""


def device(index: int = 0) -> CudaDevice:
    """A device of torch's, of which there must be one."""
    import torch

    capability = torch.cuda.get_device_capability(index)
    return CudaDevice(index, torch.cuda.get_device_name(index), capability)


def find_obstacle(index: int = 0) -> ModelLoadFailed | None:
    """Why the NVIDIA device of this machine cannot be used; None if it can, or there is none."""
    import torch

    if not torch.cuda.is_available():
        return _not_started() if is_wanted() else None
    if torch.version.cuda is None:
        return None  # AMD's, which torch calls by the same names
    return _unserved(device(index))


def _unserved(found: CudaDevice) -> ModelLoadFailed | None:
    """Whether this build has kernels for a device.

    One that is built for a compute capability runs on all later ones of the same major version;
    one that carries PTX (``compute_``) on all later ones.
    """
    import torch

    major, minor = found.capability
    built_for = torch.cuda.get_arch_list()
    for architecture in built_for:
        kind, _, number = architecture.partition("_")
        if not number.isdecimal():  # such as sm_90a: for that very one, and beside sm_90
            continue
        its_major, its_minor = divmod(int(number), 10)
        if kind == "compute" and (its_major, its_minor) <= (major, minor):
            return None
        if kind == "sm" and its_major == major and its_minor <= minor:
            return None
    return ModelLoadFailed(
        f"torch {torch.__version__} has no kernels for {found.name} (sm_{major}{minor}); it is "
        f"built for {', '.join(built_for)}",
        hint=OLDER_BUILD
        if found.capability < (7, 5)
        else "Install a build of torch for this GPU, see https://pytorch.org/get-started/locally.",
    )


def _not_started() -> ModelLoadFailed:
    """There is an NVIDIA device, but CUDA does not start: the driver's fault, or the build's."""
    import torch

    if torch.version.cuda is None:
        return ModelLoadFailed(
            f"there is an NVIDIA GPU, but torch {torch.__version__} is built for CPUs",
            hint="Install a build of torch for CUDA; to use the CPU, set CUDA_VISIBLE_DEVICES to "
            "an empty value.",
        )
    version = driver()
    if version and torch.version.cuda >= "13" and int(version.partition(".")[0]) < MIN_DRIVER:
        return ModelLoadFailed(
            f"NVIDIA's driver {version} is too old for CUDA {torch.version.cuda} of torch "
            f"{torch.__version__}, which needs {MIN_DRIVER} or later",
            hint=f"Update the driver to {MIN_DRIVER} or later. {OLDER_BUILD}",
        )
    return ModelLoadFailed(
        f"there is an NVIDIA GPU, but CUDA {torch.version.cuda} does not start "
        f"(driver {version or 'unknown'})",
        hint="Run nvidia-smi, and restart the machine if it fails, too; to use the CPU, set "
        "CUDA_VISIBLE_DEVICES to an empty value.",
    )


def try_out(found: CudaDevice) -> None:
    """Run the kernels on which all else depends: a matrix product and attention.

    Raises:
        ModelLoadFailed: the device does not run them.
    """
    import torch

    try:
        x = torch.ones(1, 1, 64, 64, device=f"cuda:{found.index}", dtype=found.dtype)
        torch.nn.functional.scaled_dot_product_attention(x @ x, x, x).sum().item()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ModelLoadFailed(
            f"{found.name} does not run torch {torch.__version__}: {first_line}", hint=OLDER_BUILD
        ) from error


def choose() -> CudaDevice | None:
    """The first device, tried out; None where there is no NVIDIA device.

    Raises:
        ModelLoadFailed: there is one, and it cannot be used.
    """
    import torch

    if obstacle := find_obstacle():
        raise obstacle
    if not torch.cuda.is_available():
        return None
    found = device()
    try_out(found)
    return found


def compiles() -> bool:
    """Whether Triton can compile for the device: from Ampere on, with a C compiler and Python.h.

    Triton builds a part of itself at its first use.
    """
    import torch

    if not torch.cuda.is_available() or device().capability < BFLOAT16_FROM:
        return False
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if compiler and header.is_file():
        return True
    log.warning("the model is not compiled: there is no C compiler or no %s", header)
    return False
