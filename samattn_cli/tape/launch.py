"""Attention that CUDA cannot launch or torch cannot run, because there are too many images, windows or heads.

CUDA C++ Programming Guide, Technical Specifications per Compute Capability: a grid has at most 65,535 blocks in y and in z, on
every device. Flash attention has its batch in one and its heads in the other (flash_fwd_launch_template.h). Memory-efficient
attention has its batch in z and its heads in y. Since `PARTS_SINCE` it runs a larger batch in parts (attention.cu); then torch
2.14.1 fails at the gradient of a mask. torch 2.15 does not choose flash for so many, and runs memory-efficient attention of them, and that gradient.
tests/tape/dry/sdpa.json has what the dry device refused of 2.14.1; 2.6.0 ran no larger batch there. cuDNN runs no larger batch either, and no more heads; torch has known
this since 2.13, and before chooses cuDNN for them (`sdpa_rules.CUDNN_BATCH_SINCE`; pytorch/pytorch #180718 and #181235, on an H100).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..encoder.torch_versions import Version
from ..records import dataclass
from .ops import Op
from .sdpa import IN_WORDS
from .sdpa_call import Kernel
from .sdpa_rules import GRID_SINCE, MOST_BLOCKS, PARTS_SINCE

GRID: dict[Kernel, tuple[int, ...]] = {"flash": (0, 1), "efficient": (1,), "cudnn": (0, 1), "math": ()}
"""Of each kernel, the dimensions of queries (B, h, N, d) that its grid limits: 0 is the batch, 1 the heads.

Before `PARTS_SINCE` the grid of memory-efficient attention limits the batch too, and since `GRID_SINCE` nothing.
"""

COUNTED = ("a batch of {:,}", "{:,} heads")
WITH_MASK = 4
"""The gradients of queries, keys, values and mask."""


@dataclass(frozen=True)
class Refused:
    """An operation that does not run.

    Attributes:
        what: the kernel, and in what case.
        dim: the dimension of the queries that is too large.
        size: its size.
    """

    what: str
    dim: int
    size: int

    @property
    def in_words(self) -> str:
        """Such as "CUDA cannot launch flash attention of a batch of 65,536, at most 65,535"."""
        return f"{self.what} of {COUNTED[self.dim].format(self.size)}, at most {MOST_BLOCKS:,}"


def refused(op: Op, torch: Version) -> Refused | None:
    """Why an operation does not run with a version of torch; None if it does."""
    if op.choice is None or (op.choice.kernel == "efficient" and torch >= GRID_SINCE):
        return None
    return next(_refusals(op, op.choice.kernel, torch), None)


def _refusals(op: Op, kernel: Kernel, torch: Version) -> Iterator[Refused]:
    for dim in (0, 1) if kernel == "efficient" and torch < PARTS_SINCE else GRID[kernel]:
        if op.entering[dim] > MOST_BLOCKS:
            yield Refused(f"CUDA cannot launch {IN_WORDS[kernel]} attention", dim, op.entering[dim])
    trains_mask = op.name.endswith("backward") and len(op.allocates) == WITH_MASK
    if kernel == "efficient" and trains_mask and op.entering[0] > MOST_BLOCKS:
        what = f"torch cannot run the backward of {IN_WORDS[kernel]} attention with a mask that trains"
        yield Refused(what, 0, op.entering[0])


def parts_of(batch: int, torch: Version) -> Iterator[int]:
    """The sizes of the parts in which memory-efficient attention of a version of torch runs a batch."""
    if not PARTS_SINCE <= torch < GRID_SINCE or batch <= MOST_BLOCKS:
        yield batch
        return
    for start in range(0, batch, MOST_BLOCKS):
        yield min(MOST_BLOCKS, batch - start)
