"""What is claimed of an encoder, and the verdicts of what checks it: integers, equal or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["exact", "differs", "skipped", "failed"]
"""exact: every integer equal. skipped: was not asked for, or cannot be here. failed: should have run and could not."""

NamedNumber = tuple[str, int]

Counts = Mapping[str, Mapping[str, int]]
"""Module -> kind of operation -> count; a module's counts include its children's, "" is the encoder."""


@dataclass(frozen=True)
class Difference:
    """Where a check found another number than the Tape's."""

    where: str
    what: str
    derived: int | str | None
    found: int | str | None


@dataclass(frozen=True)
class Check:
    """The verdict of one independent count: `compared` numbers, `total` of which the encoder's.

    `route` is "meta" where shapes were run without arithmetic, "real" where real tensors had to be.
    """

    status: Status
    compared: int = 0
    total: int | None = None
    route: Literal["meta", "real"] | None = None
    reason: str = ""
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class CrossCheck:
    """The Tape against the real stack; `layers_run` blocks of it were run, one of each kind or all."""

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
        """No verdict, for one reason."""
        check = Check(status, reason=reason)
        return cls(check, check, check, check)


@dataclass(frozen=True)
class ClaimedPass:
    """Of each part and block, in order, with the names of their operations: what a pass over the encoder does.

    `allocations` in bytes, `live` the bytes after each of them over those at the start of the part, `products` in FLOPs;
    `change` the bytes once the part is done, over the same.
    """

    allocations: Mapping[str, Sequence[NamedNumber]]
    live: Mapping[str, Sequence[NamedNumber]]
    products: Mapping[str, Sequence[NamedNumber]]
    change: Mapping[str, int]


@dataclass(frozen=True)
class Claims:
    """What the Tape says of the real stack, in the words of each of the tools that check it.

    Beside parameters and counts: the memory of an inference forward; the forward of a training step, which keeps what
    its backward needs; and that backward.
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
    """The worst of some verdicts: a difference, then a check that could not run, then one that was not."""
    found = set(statuses)
    order: tuple[Status, ...] = ("differs", "failed", "skipped", "exact")
    return next(status for status in order if status in found)
