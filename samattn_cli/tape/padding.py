"""Which weights FSDP2 pads, and what helps.

Source: PyTorch 2.14.1, torch/distributed/fsdp/_fully_shard/_fsdp_param.py. A weight is cut along dimension 0 into as many chunks
as there are ranks, all as large as the first, so that what is gathered is larger than the weight unless the ranks divide its
dimension 0. Another dimension (shard_placement_fn) must be divisible by the ranks, and needs no padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..records import dataclass


@dataclass(frozen=True)
class Padded:
    """A weight that FSDP2 pads on some number of ranks.

    Attributes:
        name: its name in the model.
        shape: its shape.
        ranks: how many ranks share it.
        item_bytes: of a number of it.
    """

    name: str
    shape: tuple[int, ...]
    ranks: int
    item_bytes: int

    @property
    def whole_bytes(self) -> int:
        """Bytes of the weight."""
        return math.prod(self.shape) * self.item_bytes

    @property
    def shard_bytes(self) -> int:
        """Bytes of the first rank's shard, which is full; each other rank allocates as much."""
        first, *others = self.shape
        return -(-first // self.ranks) * math.prod(others) * self.item_bytes

    @property
    def gathered_bytes(self) -> int:
        """Bytes of the weight when it is gathered."""
        return self.shard_bytes * self.ranks

    @property
    def padding_bytes(self) -> int:
        """How many of those are padding."""
        return self.gathered_bytes - self.whole_bytes

    @property
    def even_dimension(self) -> int | None:
        """The largest other dimension that the ranks divide, the last of equal ones; None if there is none."""
        even = [place for place, size in enumerate(self.shape) if place and size % self.ranks == 0]
        return max(even, key=lambda place: (self.shape[place], place), default=None)


def padded(weights: Iterable[tuple[str, tuple[int, ...]]], ranks: int, item_bytes: int) -> tuple[Padded, ...]:
    """The weights that are padded on so many ranks, those with most padding first."""
    every = (Padded(name, shape, ranks, item_bytes) for name, shape in weights)
    found = [weight for weight in every if weight.padding_bytes]
    return tuple(sorted(found, key=lambda weight: -weight.padding_bytes))
