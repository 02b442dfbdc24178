"""What the Tape claims about an encoder, and the verdicts of the checks: integers, equal or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from .records import dataclass

Status = Literal["exact", "differs", "skipped", "failed"]
"""exact: all integers are equal. skipped: not requested, or not possible here. failed: it should have run and could not."""

NamedNumber = tuple[str, int]

Counts = Mapping[str, Mapping[str, int]]
"""Module -> kind of operation -> count. The counts of a module include those of its children; "" is the encoder."""


@dataclass(frozen=True)
class Difference:
    """A number of a check that differs from the Tape's."""

    where: str
    what: str
    derived: int | str | None
    found: int | str | None


@dataclass(frozen=True)
class Check:
    """The verdict of one independent count.

    Attributes:
        status: the verdict.
        compared: how many numbers were compared.
        total: the number of the whole encoder.
        route: "meta" if shapes ran without arithmetic, "real" if real tensors were needed.
        reason: why it did not run.
        differences: the numbers that differ.
    """

    status: Status
    compared: int = 0
    total: int | None = None
    route: Literal["meta", "real"] | None = None
    reason: str = ""
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class CrossCheck:
    """The Tape against the real stack. `layers_run` is the number of blocks that ran: one of each kind, or all."""

    parameters: Check
    fvcore: Check
    flop_counter: Check
    memory_trace: Check
    layers_run: int = 0

    @property
    def checks(self) -> dict[str, Check]:
        """The verdicts by name."""
        names = ("parameters", "fvcore", "flop_counter", "memory_trace")
        return {name: getattr(self, name) for name in names}

    @property
    def status(self) -> Status:
        """The worst of the verdicts."""
        return worst(check.status for check in self.checks.values())

    @classmethod
    def not_run(cls, status: Status, reason: str) -> CrossCheck:
        """The cross-check if no check ran, for one reason."""
        check = Check(status, reason=reason)
        return cls(check, check, check, check)


@dataclass(frozen=True)
class ClaimedPass:
    """What a pass over the encoder does in each part and block, in order and with the names of operations.

    Attributes:
        allocations: bytes of each allocation.
        live: live bytes after each allocation, less those at the start of the part.
        products: FLOPs of each product.
        change: live bytes at the end of the part, less those at its start.
    """

    allocations: Mapping[str, Sequence[NamedNumber]]
    live: Mapping[str, Sequence[NamedNumber]]
    products: Mapping[str, Sequence[NamedNumber]]
    change: Mapping[str, int]


@dataclass(frozen=True)
class Claims:
    """What the Tape predicts for the real stack, in the terms of each tool that checks it.

    It has parameters and counts, the memory of an inference forward, of the forward of a training step, which keeps what
    its backward needs, and of this backward.
    """

    parameters: Mapping[str, tuple[int, ...]]
    fvcore: Counts
    flop_counter: Counts
    peak_bytes: Mapping[str, int]
    saved_bytes: Mapping[str, int]
    inference: ClaimedPass
    training: ClaimedPass
    backward: ClaimedPass


def worst(statuses: Iterable[Status]) -> Status:
    """The worst verdict: "differs", then "failed", then "skipped", then "exact"."""
    present = set(statuses)
    order: tuple[Status, ...] = ("differs", "failed", "skipped", "exact")
    return next(status for status in order if status in present)
