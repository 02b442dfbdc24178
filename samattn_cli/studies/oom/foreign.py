"""Errors that are not of torch's CUDA allocator: what they are, and why samattn has no answer."""

from __future__ import annotations

import re
from typing import NoReturn

from ...errors import UsageError

OTHER = "other-program"
OURS = "give torch's message, such as 'CUDA out of memory. Tried to allocate 1.50 GiB ...'"
FOREIGN: tuple[tuple[str, str, str], ...] = (
    # a pattern, the code, what it is
    (r"DefaultCPUAllocator", OTHER, "is of main memory (DefaultCPUAllocator), not of a GPU"),
    (r"MPS backend out of memory", OTHER, "is of Apple's MPS, whose allocator is not modelled"),
    (r"XPU out of memory", OTHER, "is of an Intel XPU, whose allocator is not modelled"),
    (r"RESOURCE_EXHAUSTED|XlaRuntimeError|jaxlib", OTHER, "is of JAX or XLA, not of torch"),
    (r"OOM when allocating tensor|ResourceExhaustedError", OTHER, "is of TensorFlow, not of torch"),
    (r"BFCArena|onnxruntime", OTHER, "is of ONNX Runtime, not of torch"),
    (r"Unable to allocate .* for an array", OTHER, "is of NumPy, and of main memory"),
    (r"NVIDIA-SMI|\d+MiB\s*/\s*\d+MiB", OTHER, "is nvidia-smi's table, which shows no error"),
    (
        r"oom-kill|Out of memory: Killed process|^Killed$",
        "other-program",
        "is of Linux, which ran out of main memory",
    ),
    (
        r"CUDA error: out of memory|CU\w+_STATUS_ALLOC_FAILED|cuda runtime error \(2\)|cudaErrorMemoryAllocation",
        "no-figure",
        "comes from the driver or a library, which do not say how much was tried",
    ),
    (
        r"(CUDA|HIP) out of memory|OutOfMemoryError",
        "no-figure",
        "does not say how much was tried",
    ),
)


def is_foreign(text: str) -> bool:
    """Whether a text is the error of another program."""
    return any(code == OTHER and re.search(pattern, text, re.MULTILINE) for pattern, code, _ in FOREIGN)


def refuse_foreign(text: str) -> NoReturn:
    """Say what a text is that has no error of torch's CUDA allocator.

    Raises:
        UsageError: always.
    """
    if not text.strip():
        raise UsageError("no-message", f"MESSAGE: is empty; {OURS}")
    for pattern, code, what in FOREIGN:
        if re.search(pattern, text, re.MULTILINE):
            raise UsageError(code, f"MESSAGE: {what}; {OURS}")
    raise UsageError("no-message", f"MESSAGE: has no out-of-memory error; {OURS}")
