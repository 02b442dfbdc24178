"""What is live over a pass, allocation by allocation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ..encoder.model import Phase
from ..records import dataclass


@dataclass(frozen=True)
class MemoryPlace:
    """An operation, its layer or part ("optimizer" for the optimizer's step), and the phase; "" for what runs in none."""

    layer: str
    phase: Phase
    op: str


@dataclass(frozen=True)
class MemoryTimeline:
    """The allocations and frees of a pass of the run's mode, in order.

    Attributes:
        counts: "allocated" for what torch's caching allocator allocates on the device, "tensors" for what tensors take without
            a device, each rounded up to 512 bytes.
        kinds: what memory is for: the kinds of the peak, and of activations the matrices of tokens by tokens ("scores",
            "kept_scores") apart from the others ("temporaries", "kept"), and what the optimizer's step makes and frees ("step").
        before: the bytes of each kind before the pass.
        places: the operations, in order; one that runs again is there again.
        changes: the place, the kind and the bytes of each allocation, and of each free as a negative number.
        peak_bytes: the most that is live.
        peak_change: the number of the first change after which it is.
        peak_at: the operation there.
    """

    counts: Literal["allocated", "tensors"]
    kinds: tuple[str, ...]
    before: tuple[int, ...]
    places: tuple[MemoryPlace, ...]
    changes: tuple[tuple[int, int, int], ...]
    peak_bytes: int
    peak_change: int
    peak_at: str

    def live(self) -> Iterator[tuple[int, ...]]:
        """The bytes of each kind after each change."""
        now = list(self.before)
        for _, kind, nbytes in self.changes:
            now[kind] += nbytes
            yield tuple(now)
