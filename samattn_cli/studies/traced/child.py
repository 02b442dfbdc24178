"""The process that traces one target: `stack/tracing/child.py`, with the attention kernels of the device that is asked for."""

from __future__ import annotations

from typing import Any

from ...stack.tracing import child
from ...tape.sdpa_call import Target
from .kernels import kernel_of


def main() -> None:
    """Answer the request."""
    child.main(_kernels)


def _kernels(request: dict[str, Any]) -> child.KernelOf:
    major, minor = request["capability"]
    return kernel_of(Target((major, minor), has_cudnn=request["has_cudnn"]))
