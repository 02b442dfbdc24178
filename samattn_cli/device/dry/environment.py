"""The environment of a process that runs on the dry device."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import gettempdir

from ...errors import DeviceError
from ..model import Device
from .build import library

TORCH = {
    "TORCH_CPP_LOG_LEVEL": "FATAL",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "TORCHINDUCTOR_MAX_AUTOTUNE": "0",
    "CUDA_VISIBLE_DEVICES": "0",
}
"""Settings that keep torch from calling functions that the stub does not have."""


def environment(device: Device) -> dict[str, str]:
    """The environment variables of a dry run of a device.

    Raises:
        DeviceError: if the dry device cannot be built here, or the device's file lacks what it needs.
    """
    built = library()
    path = os.environ.get("LD_LIBRARY_PATH")
    return {
        **TORCH,
        **_settings(device),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, (str(built.parent), path))),
        "LD_PRELOAD": os.pathsep.join(filter(None, (str(built), os.environ.get("LD_PRELOAD")))),
        **{key: str(place) for key, place in _caches(device).items() if key not in os.environ},
    }


def _settings(device: Device) -> dict[str, str]:
    missing = [
        name
        for name in ("compute_capability", "multiprocessors", "threads_per_multiprocessor")
        if getattr(device, name) is None
    ]
    if missing:
        raise DeviceError(
            "incomplete-device-file",
            f"{device.name}: a dry run needs {', '.join(missing)}: add them to the device file, each with its source",
        )
    return {
        "SAMATTN_DRY_NAME": device.description or device.name,
        "SAMATTN_DRY_BYTES": str(device.memory_bytes),
        "SAMATTN_DRY_CONTEXT": str(device.reserved_bytes),
        "SAMATTN_DRY_CC": f"{device.compute_capability:.1f}",
        "SAMATTN_DRY_SMS": str(device.multiprocessors),
        "SAMATTN_DRY_THREADS": str(device.threads_per_multiprocessor),
    }


def _caches(device: Device) -> dict[str, Path]:
    """Caches of torch.compile's compilers: where torch has its own, but separate for dry runs, and for each kind of device."""
    kind = f"{device.compute_capability:.1f}-{device.multiprocessors}-{device.threads_per_multiprocessor}"
    folder = Path(gettempdir()) / f"samattn_dry_{os.getuid()}" / kind
    return {"TORCHINDUCTOR_CACHE_DIR": folder / "inductor", "TRITON_CACHE_DIR": folder / "triton"}
