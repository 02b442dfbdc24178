"""Lengths of runs of layers without a global one, at both ends and within consecutive layers; they chain as pieces do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pieces import Number


@dataclass(frozen=True)
class Runs:
    """The runs of consecutive layers.

    Attributes:
        length: the number of layers.
        before: layers before the first global one; all of them if none is global.
        after: layers after the last global one; all of them if none is global.
        longest: the longest run without a global layer.
    """

    length: int
    before: Number
    after: Number
    longest: Number

    @classmethod
    def of(cls, is_global: Number) -> Runs:
        """One layer."""
        run = 1 - is_global
        return cls(1, run, run, run)

    def then(self, other: Runs) -> Runs:
        """These layers followed by others."""
        before = np.where(self.before == self.length, self.length + other.before, self.before)
        after = np.where(other.after == other.length, other.length + self.after, other.after)
        within = np.maximum(self.longest, other.longest)
        return Runs(
            self.length + other.length,
            before,
            after,
            np.maximum(within, self.after + other.before),
        )


NO_LAYER = Runs(0, 0, 0, 0)
