"""What each layer adds to the cost of a placement, learnt from eight real passes, and summed for millions of placements.

What a layer costs, allocates and keeps depends on whether it is global and, for memory, on its neighbours: on whether the
one before keeps what enters it, and on how the gradient lies that the one behind hands back. So a table has an entry for
each layer and each of the eight ways that it and the two beside it can be. The cyclic sequence 00010111 has each of them
once (de Bruijn), so its eight rotations, laid along the layers, show every layer in each of its eight ways. What is between
two layers that can be either (transitions, layers without a window) counts with the first of them.

Placements are bitmasks: bit i is the i-th layer that can be either. Layers are taken in groups, whose table is indexed by
the bits of the group and of the two layers beside it. FLOPs are sums; a peak is the largest of (live so far + rise within),
which chains: first over the layers of a group, then over groups. All figures are whole numbers: times are in picoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ...config.device import Device
from ...config.model import EncoderConfig
from ...cost.encoder import Segment
from ...cost.memory import live_over, weights_bytes
from ...cost.training import OPTIMIZERS
from ..passes import Passes
from .placing import placed

Ints = npt.NDArray[np.int64]

ROTATING = (0, 0, 0, 1, 0, 1, 1, 1)
WAYS = len(ROTATING)
GROUP = 8
PS_PER_MS = 10**9
NEVER = -(2**62)
"""Below any number of bytes: the rise of nothing."""

METRICS = ("params", "macs", "flops", "peak_bytes", "training_bytes", "latency_ps")


@dataclass(frozen=True)
class Piece:
    """What a segment, or several in a row, adds to a pass.

    Attributes:
        params: numbers in its weights.
        macs: MACs of products.
        flops: FLOPs of products.
        latency_ps: its time, in picoseconds.
        weights: bytes of weights and buffers.
        change: bytes that are live behind it and were not before, in an inference forward.
        rise: the most bytes that are live within it and were not before.
    """

    params: int
    macs: int
    flops: int
    latency_ps: int
    weights: int
    change: int
    rise: int

    def then(self, after: Piece) -> Piece:
        """This and what follows it."""
