"""How many sizes match by chance: what a size of the same magnitude, of something else, would find."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...reports.oom import Printed
from ...tape.allocator import OWN_STEP
from ..points import Array

GIB = 1 << 30
HUNDREDTH = GIB // 100
"""From 1 GiB on a size is printed in steps of 0.01 GiB."""


class Chance:
    """The sizes between half and twice a printed one that requests of the settings tried have.

    Torch can print as many sizes there as there are multiples of 2 MiB below 1 GiB, and of 0.01 GiB above.
    """

    def __init__(self, tried: Printed) -> None:
        self.low, self.high = tried.low_bytes // 2, 2 * tried.high_bytes
        self.covered: set[int] = set()
        self.settings = 0

    def add(self, nbytes: Array) -> None:
        """Count the requests of a setting."""
        self.settings += 1
        near = nbytes[(nbytes >= max(self.low, OWN_STEP)) & (nbytes <= self.high)]
        self.covered.update(map(int, np.unique(_printed_as(near))))

    @property
    def share(self) -> float:
        """The share of printable sizes that some request has."""
        small = max(min(self.high, GIB) - self.low, 0) // OWN_STEP
        large = max(self.high - max(self.low, GIB), 0) // HUNDREDTH
        return min(len(self.covered) / max(small + large, 1), 1.0)


def _printed_as(nbytes: Array) -> Any:
    """A number for each size that is printed: steps of 2 MiB, or of 0.01 GiB."""
    rounded = -(-nbytes // OWN_STEP)
    return np.where(nbytes < GIB, rounded, GIB + np.round(rounded * OWN_STEP / HUNDREDTH).astype(np.int64))
