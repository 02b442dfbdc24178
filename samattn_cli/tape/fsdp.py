"""FSDP2: what a rank holds of each group of weights, in bytes.

Source: PyTorch 2.14.1 and 2.15.0, torch/distributed/fsdp/_fully_shard (_fsdp_param.py, _fsdp_param_group.py, _fsdp_collectives.py), and
aten/src/ATen/native/cuda/TensorShape.cu for the tables that its two copies take:

- A group is what one call of fully_shard communicates together: here a block; the root has all other weights.
- A weight is cut along its dimension 0 into as many shards as there are ranks, all of the size of the first: the last ones
  are padded. So is what is gathered of it: ranks x the shard of rank 0.
- An all-gather fills one flat buffer of a group, from which each weight is copied to a place of its own.
- A reduce-scatter has a flat input, into which all gradients of a group are copied, and a flat output, whose parts are the
  shards of the gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property

from ..encoder.model import RunConfig
from ..encoder.torch_versions import FSDP_REDUCES_AS_SHARDS_SINCE
from ..records import dataclass
from ..units import INT64_BYTES, ITEM_BYTES
from .inside import Cuda
from .storage import Shape

THREADS = 128
TILE_BYTES = 16 * THREADS
"""What a block of a copy's kernel moves at once."""


@dataclass(frozen=True)
class Weight:
    """A weight of a group; a frozen one is gathered, but has no gradient."""

    name: str
    shape: Shape
    trains: bool = True


@dataclass(frozen=True)
class Sharding:
    """How FSDP2 shards a run.

    Attributes:
        gpus: ranks.
        kept_over: over how many ranks the gathered weights of a block are spread after its forward: 0 if each rank keeps them
            whole, `gpus` if they are freed.
        item_bytes: of a number of a shard.
        gathered_item_bytes: of a number of what is gathered.
        reduced_item_bytes: of a number of gradients as they are reduced.
        is_offloaded: whether shards are in the host's memory.
        keeps_buffer: whether the buffer of a group's all-gather, in the forward, stays until the next group is copied out.
    """

    gpus: int
    kept_over: int
    item_bytes: int
    gathered_item_bytes: int
    reduced_item_bytes: int
    casts: bool
    is_offloaded: bool
    keeps_buffer: bool

    @classmethod
    def of(cls, run: RunConfig) -> Sharding:
        """That of a run of FSDP2."""
        reshards = run.reshards
        kept_over = run.gpus if reshards is True else int(reshards)
        gathered = ITEM_BYTES[run.computes_in]
        return cls(
            gpus=run.gpus,
            kept_over=kept_over,
            item_bytes=ITEM_BYTES[run.dtype],
            gathered_item_bytes=gathered,
            reduced_item_bytes=ITEM_BYTES[run.reduces_in],
            casts=run.computes_in != run.dtype,
            is_offloaded=run.is_offloaded,
            keeps_buffer=run.torch_version < FSDP_REDUCES_AS_SHARDS_SINCE,
        )


@dataclass(frozen=True)
class Group:
    """Weights that are communicated together, in order."""

    weights: tuple[Weight, ...]
    sharding: Sharding

    @cached_property
    def shards(self) -> tuple[int, ...]:
        """Numbers in rank 0's shard of each weight; those of other ranks have as many, some of which are padding."""
        return tuple(shard_of(weight.shape, self.sharding.gpus) for weight in self.weights)

    @cached_property
    def trained(self) -> tuple[int, ...]:
        """The same of the weights that train."""
        pairs = zip(self.weights, self.shards, strict=True)
        return tuple(shard for weight, shard in pairs if weight.trains)

    @cached_property
    def gathered_bytes(self) -> tuple[int, ...]:
        """Bytes of each weight when it is gathered, padding included."""
        each = self.sharding.gpus * self.sharding.gathered_item_bytes
        return tuple(shard * each for shard in self.shards)

    @cached_property
    def buffer_bytes(self) -> int:
        """Bytes of the buffer of an all-gather."""
        return sum(self.gathered_bytes)

    @cached_property
    def kept_bytes(self) -> tuple[int, ...]:
        """Bytes of the part of each gathered weight that a rank keeps after the forward."""
        return tuple(nbytes // self.sharding.kept_over for nbytes in self.gathered_bytes)

    @cached_property
    def reduced_bytes(self) -> int:
        """Bytes of the input of a reduce-scatter."""
        return sum(self.trained) * self.sharding.gpus * self.sharding.reduced_item_bytes

    @cached_property
    def last_gradient_bytes(self) -> int:
        """Bytes of the gradient of the last weight that trains, before it is reduced; 0 if none does."""
        shapes = [weight.shape for weight in self.weights if weight.trains]
        return math.prod(shapes[-1]) * self.sharding.gathered_item_bytes if shapes else 0

    def copy_out_table_bytes(self, ranks: int, cuda: Cuda) -> int:
        """Bytes of the table of ``split_with_sizes_copy``, by which weights are copied out of the buffer of `ranks` parts.

        It has three numbers for each weight, the weight of each block of the kernel, and where each weight's blocks begin.
        """
        chunks = [nbytes // ranks for nbytes in self.gathered_bytes]
        most = cuda.multiprocessors * cuda.threads_per_multiprocessor // THREADS * 2
        rounds = -(-tiles(chunks) * ranks // most)
        at_once = min(math.ceil(math.sqrt(rounds)), ranks)
        return (4 * len(chunks) + 1 + tiles(chunks, -(-rounds // at_once))) * INT64_BYTES

    @cached_property
    def copy_in_table_bytes(self) -> int:
        """Bytes of the table of ``chunk_cat``, by which gradients are copied into the input of a reduce-scatter."""
        chunks = [shard * self.sharding.reduced_item_bytes for shard in self.trained]
        return (6 * len(chunks) + 2 + tiles(chunks)) * INT64_BYTES


def shard_of(shape: Shape, gpus: int) -> int:
    """Numbers in rank 0's shard of a weight."""
    return int(-(-shape[0] // gpus) * math.prod(shape[1:]))


def tiles(chunks: Iterable[int], times: int = 1) -> int:
    """Blocks of a kernel that move so many times 2 KiB each, for chunks of so many bytes."""
    return sum(-(-nbytes // (TILE_BYTES * times)) for nbytes in chunks)


def bytes_of(shards: Sequence[int], item_bytes: int) -> tuple[int, ...]:
    """Bytes of shards of so many numbers."""
    return tuple(shard * item_bytes for shard in shards)
