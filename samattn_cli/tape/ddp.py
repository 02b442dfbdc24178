"""DistributedDataParallel's buckets: flat copies of all gradients, which are reduced one by one.

Source: PyTorch 2.14.1, torch/nn/parallel/distributed.py and torch/csrc/distributed/c10d/reducer.cpp:

- The constructor makes one bucket of all weights that train.
- The second forward makes new ones, in the order in which the first backward completed the gradients. A bucket is full when
  it has at least 1 MiB, the first, or 25 MiB, the others. In a bucket, gradients are not rounded.
- Weights and buffers of the first rank are sent to the others by the constructor, and buffers before each forward too: in
  flat copies of up to 250 MiB, one type of numbers in each, of which two exist at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..units import INT64_BYTES
from .ops import Buffer
from .storage import Dim

MIB = 1 << 20
FIRST_CAP = MIB
CAP = 25 * MIB
SENT_AT_ONCE = 250 * MIB
IN_FLIGHT = 2

INDEX_BYTES = 4
"""Of an index of a weight, by which ranks agree on the buckets."""

Typed = tuple[Dim, object]
"""The bytes of a tensor, and the type of its numbers."""


def one_bucket(gradients: Sequence[Dim]) -> tuple[Dim, ...]:
    """The bucket of the first step; the bytes of the gradients in any order."""
    return (sum(gradients),)


def buckets(gradients: Iterable[Dim], first_cap: int = FIRST_CAP, cap: int = CAP) -> tuple[Dim, ...]:
    """The bytes of the buckets; with the arguments of `filled`."""
    return tuple(sum(bucket) for bucket in filled(gradients, first_cap, cap))


def filled(
    gradients: Iterable[Dim], first_cap: int = FIRST_CAP, cap: int = CAP
) -> tuple[tuple[Dim, ...], ...]:
    """The bytes of the gradients in each bucket, in order. A bucket is sent when the last of them is complete.

    Args:
        gradients: the bytes of gradients, in the order in which the backward completes them.
        first_cap: the bytes from which on the first bucket is full.
        cap: the same of each other bucket.
    """
    full: list[tuple[Dim, ...]] = []
    filling: list[Dim] = []
    for nbytes in gradients:
        filling.append(nbytes)
        if sum(filling) >= (cap if full else first_cap):
            full.append(tuple(filling))
            filling = []
    return (*full, tuple(filling)) if filling else tuple(full)


def typed(buffers: Iterable[Buffer]) -> list[Typed]:
    """Buffers that are sent. Those of whole numbers are of another type than the others; what code caches is no buffer."""
    sent = (buffer for buffer in buffers if buffer.cached is None)
    return [(each.nbytes, "int64" if each.item_bytes == INT64_BYTES else "") for each in sent]


def flat_copies(tensors: Iterable[Typed], cap: int = SENT_AT_ONCE) -> tuple[int, ...]:
    """The bytes of the flat copies in which tensors are sent, in order; one that is sent alone is not copied (0)."""
    return tuple(sum(copied) if len(copied) > 1 else 0 for copied in _together(tensors, cap))


def sent_together(tensors: Iterable[Typed], cap: int = SENT_AT_ONCE) -> tuple[int, ...]:
    """The bytes of each broadcast of tensors, in order."""
    return tuple(map(sum, _together(tensors, cap)))


def _together(tensors: Iterable[Typed], cap: int) -> Iterator[list[int]]:
    """The bytes of the tensors that are sent together, in order."""
    filling: dict[object, list[tuple[int, int]]] = {}
    full: list[list[tuple[int, int]]] = []
    for index, (nbytes, kind) in enumerate(tensors):
        copied = filling.setdefault(kind, [])
        copied.append((index, nbytes))
        if sum(size for _, size in copied) >= cap:
            full.append(filling.pop(kind))
    for copied in sorted([*full, *filling.values()]):
        yield [size for _, size in copied]


def in_flight(copies: Sequence[int]) -> Iterator[tuple[int, bool]]:
    """The number of each copy as it is made (True) and freed (False)."""
    for number in range(len(copies) + IN_FLIGHT):
        if number >= IN_FLIGHT:
            yield number - IN_FLIGHT, False
        if number < len(copies):
            yield number, True
