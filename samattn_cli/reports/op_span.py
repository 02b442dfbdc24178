"""When each operation of a pass runs on a device, as predicted."""

from __future__ import annotations

from typing import Literal

from ..encoder.model import Phase
from ..records import dataclass


@dataclass(frozen=True)
class OpSpan:
    """An operation of a pass: its layer or part ("optimizer" for the optimizer's step), the phase, and its predicted time.

    Attributes:
        start_ms: since the pass began.
        bound: what limits its speed.
        bytes: those that it reads and writes.
    """

    layer: str
    phase: Phase
    op: str
    kind: str
    start_ms: float
    ms: float
    bound: Literal["compute", "memory", "launch"]
    flops: int
    elementwise_flops: int
    bytes: int
