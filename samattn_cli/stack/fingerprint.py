"""The fingerprint of what measures: the device, its driver, torch, and how torch's allocator rounds."""

from __future__ import annotations

import os
import platform
import re
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from ..errors import DeviceError
from ..reports.recording import CompileMode, Fingerprint
from ..version import __version__
from .compiled import check_compiles

ADVICE = "--device cpu measures on the CPU"
CUDNN_ATTENTION_OFF = "cuDNN attention off"
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")


def fingerprint(device: str, *, dry: bool = False, compiled: CompileMode = "") -> Fingerprint:
    """The fingerprint of a device of this machine ("cpu", "cuda" or "cuda:1"), or of the dry device as "cuda".

    Raises:
        DeviceError: if torch has no such device, or cannot run or compile on it.
    """
    software = partial(
        Fingerprint,
        torch=torch.__version__,
        samattn=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
    )
    if device == "cpu":
        return _cpu(software)
    made_by = _cuda(software, device, dry=dry)
    if compiled:
        check_compiles(device)
    return replace(made_by, compiled=compiled)


def _cpu(software: Any) -> Fingerprint:
    from .crosscheck import _physical_memory

    return software(
        device=f"{_cpu_name()}, {torch.get_num_threads()} threads",
        kind="cpu",
        total_bytes=_physical_memory(),
        compute_capability=torch.backends.cpu.get_cpu_capability(),
        driver="",
        cuda="",
        cudnn="",
        allocator="CPU",
        allocation_bytes=1,
        settings=(),
    )


def _cpu_name() -> str:
    """The name of the CPU, by Linux, otherwise by Python."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a stream, not a file to be read whole
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return next(iter(names), platform.processor() or platform.machine())


def _cuda(software: Any, device: str, *, dry: bool) -> Fingerprint:
    _start_cuda(device)
    properties = torch.cuda.get_device_properties(device)
    if dry:
        _check_kernels(properties.major, properties.minor)
    return software(
        device=properties.name,
        kind="dry" if dry else "cuda",
        total_bytes=properties.total_memory,
        compute_capability=f"{properties.major}.{properties.minor}",
        driver="" if dry else _driver(),
        cuda=torch.version.cuda or "",
        cudnn=str(torch.backends.cudnn.version() or ""),
        allocator=torch.cuda.get_allocator_backend(),
        allocation_bytes=_allocation_bytes(device),
        settings=(CUDNN_ATTENTION_OFF, *_allocator_settings()),
        multiprocessors=properties.multi_processor_count,
        threads_per_multiprocessor=properties.max_threads_per_multi_processor,
    )


def _start_cuda(device: str) -> None:
    """Start CUDA and run one operation on the device."""
    if torch.version.cuda is None:
        raise DeviceError(
            "no-cuda", f"--device {device}: torch {torch.__version__} is built without CUDA; {ADVICE}"
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            torch.cuda.init()
            choose(device)
            torch.ones(1, device=device).add_(1).item()
        except Exception as error:  # noqa: BLE001 - a driver may raise anything
            texts = [str(error), *(str(warning.message) for warning in caught)]
            reason = "; ".join(text.strip().partition("\n")[0] for text in texts)
            raise DeviceError(
                "device-does-not-run",
                f"--device {device}: torch {torch.__version__} cannot run on it: {reason}; {ADVICE}",
            ) from None


def _check_kernels(major: int, minor: int) -> None:
    """Check that torch was built for a compute capability. A GPU refuses other kernels, but the dry device takes all.

    Kernels run on later devices of the same major version; PTX is compiled for all later devices.
    """
    architectures = torch.cuda.get_arch_list()
    built = [re.fullmatch(r"(sm|compute)_(\d+)(\d)", name) for name in architectures]
    runs = any(
        (int(one[2]), int(one[3])) <= (major, minor) and (one[1] == "compute" or int(one[2]) == major)
        for one in built
        if one
    )
    if not runs:
        raise DeviceError(
            "no-kernels",
            f"torch {torch.__version__} has no kernels for compute capability {major}.{minor}; it is built for "
            f"{', '.join(architectures)}",
        )


def choose(device: str) -> None:
    """Make a CUDA device the current one. "cuda" is the current one already: torch's set_device needs an index."""
    index = torch.device(device).index
    if index is not None:
        torch.cuda.set_device(index)


def _driver() -> str:
    from torch.utils.collect_env import get_nvidia_driver_version, run

    return get_nvidia_driver_version(run) or ""


def _allocator_settings() -> list[str]:
    return [f"{name}={os.environ[name]}" for name in ALLOCATOR_VARIABLES if os.environ.get(name)]


def _allocation_bytes(device: str) -> int:
    before = torch.cuda.memory_allocated()
    one = torch.empty(1, dtype=torch.uint8, device=device)
    return torch.cuda.memory_allocated() - before if one.numel() else 0
