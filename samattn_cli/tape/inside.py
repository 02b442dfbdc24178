"""What CUDA's code allocates inside an operator, and no trace on meta shows. It is live while the operator runs.

- cuBLAS workspaces: one for each thread that runs a product, kept for ever: 4096 KiB x 2 + 16 KiB x 8 up to compute
  capability 8.9, 32 MiB from 9.0 on (aten/src/ATen/cuda/CUDABlas.cpp, parseChosenWorkspaceSize).
- Softmax's backward: the gradient times the output, as large as the scores (aten/src/ATen/native/cuda/SoftMax.cu,
  softmax_backward_cuda_out).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .ops import Op

KIB = 1 << 10
WORKSPACE_BYTES = 8_519_680
WORKSPACE_BYTES_HOPPER = 32 << 20
PRODUCTS = frozenset({"linear", "matmul", "batched_linear"})


@dataclass(frozen=True)
class Cuda:
    """What of a device decides how much memory its operators take inside."""

    compute_capability: float = 8.0
    multiprocessors: int = 108
    threads_per_multiprocessor: int = 2048

    @property
    def workspace_bytes(self) -> int:
        """Of one cuBLAS handle."""
        return WORKSPACE_BYTES_HOPPER if self.compute_capability >= 9 else WORKSPACE_BYTES


class Inside:
    """The operators of a device."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda

    def is_product(self, op: Op) -> bool:
        """Whether cuBLAS runs it."""
        return op.kind in PRODUCTS

    def temporaries(self, op: Op) -> Iterator[int]:
        """The bytes of what it takes after its results, in order."""
        if op.kind == "softmax_backward":
            yield op.allocates[0].nbytes
        if op.workspace_bytes:
            yield op.workspace_bytes
