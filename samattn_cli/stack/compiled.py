"""Runs a pass through torch.compile, and measures its memory.

Inductor makes a graph of the whole model, which has no layers. It is compiled in the first pass. In modes with CUDA graphs,
the second pass records a graph, and later passes replay it: its memory is in a pool of its own, which the counter of
allocated bytes does not show.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch.cuda import memory as cuda

from ..errors import DeviceError
from .memory import Usage, free_workspaces
from .step import Step

WARM_UP = 3
"""Passes before the one that is measured: one compiles, one records CUDA graphs, one replays them."""

COMPILERS = ("clang", "gcc", "cc")
"""Those that triton looks for, if CC does not name one."""


def check_compiles(device: str) -> None:
    """Check that torch.compile has what it needs for a CUDA device.

    Raises:
        DeviceError: if triton or a C compiler is missing, or triton does not compile for the device.
    """
    if find_spec("triton") is None:
        raise DeviceError("no-triton", "--compile needs triton, but it is not installed: pip install triton")
    compiler = os.environ.get("CC")
    if not any(map(shutil.which, [compiler] if compiler else COMPILERS)):
        named = f"CC={compiler} is not one" if compiler else "there is no cc"
        raise DeviceError("no-compiler", f"--compile needs a C compiler, but {named}: install gcc")
    from torch.utils._triton import has_triton

    if not has_triton():
        major, minor = torch.cuda.get_device_capability(device)
        raise DeviceError(
            "not-for-device",
            f"--compile: triton does not compile for {device}, whose compute capability is {major}.{minor}",
        )


def usage_of_compiled(make: Callable[[], Step], mode: str) -> tuple[Step, Usage]:
    """Make a step, compile it and warm it up, then read the allocator's counters over one pass."""
    step, usage = make(), Usage()
    if step.settings.step == "first":
        raise DeviceError(
            "first-step-is-warm-up",
            "--compile measures a later step, and run.step is first: leave one of them out",
        )
    if step.settings.parallel != "none":
        raise DeviceError(
            "compiled-ddp",
            "--compile measures a model that is not spread over GPUs: leave out run.parallel",
        )
    step.compile(mode)
    for _ in range(WARM_UP):
        step()
    cuda.empty_cache()  # what compiling took
    cuda.reset_peak_memory_stats()
    live = cuda.memory_allocated()
    step()
    usage.peak_allocated_bytes = cuda.max_memory_allocated()
    usage.peak_reserved_bytes = cuda.max_memory_reserved()
    usage.peak_requested_bytes = cuda.memory_stats()["requested_bytes.all.peak"]
    usage.workspace_bytes = free_workspaces()
    usage.baseline_bytes = live - usage.workspace_bytes
    return step, usage
