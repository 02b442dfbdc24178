"""The process that traces one target: `stack/tracing/child.py`, with the attention kernels of the device that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...encoder.torch_versions import NEWEST, nearest
from ...stack.tracing import child
from ...tape.sdpa_call import Target
from ..torch_version import installed
from .kernels import kernel_of

if TYPE_CHECKING:
    from ...stack.tracing.as_cuda import KernelOf


def main() -> None:
    """Answer the request."""
    child.main(_kernels)


def _kernels(request: dict[str, Any]) -> KernelOf:
    major, minor = request["capability"]
    torch = nearest(installed()) or NEWEST
    return kernel_of(Target((major, minor), torch, has_cudnn=request["has_cudnn"]))
