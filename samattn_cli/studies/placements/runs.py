"""Layers in a row and which of them are global: how long runs without one are, at the ends and within; chained as pieces are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pieces import Number


@dataclass(frozen=True)
class Runs:
    """Layers in a row.

    Attributes:
        length: how many they are.
        before: how many of them come before the first global one: all, if there is none.
        behind: how many come behind the last global one: all, if there is none.
        longest: the most in a row none of which is global.
    """

    length: int
    before: Number
    behind: Number
    longest: Number

    @classmethod
    def of(cls, is_global: Number) -> Runs:
        """One layer."""
        run = 1 - is_global
        return cls(1, run, run, run)

    def then(self, after: Runs) -> Runs:
        """These layers and those behind them."""
        before = np.where(self.before == self.length, self.length + after.before, self.before)
        behind = np.where(after.behind == after.length, after.length + self.behind, after.behind)
        within = np.maximum(self.longest, after.longest)
        return Runs(
            self.length + after.length,
            before,
            behind,
            np.maximum(within, self.behind + after.before),
        )


NO_LAYER = Runs(0, 0, 0, 0)
