"""The answer of `samattn fit --vary checkpointing`: the blocks to checkpoint, with the fewest FLOPs that are computed again."""

from __future__ import annotations

from typing import Literal

from ..records import dataclass
from .candidate import Candidate

CheckpointStatus = Literal["fits as it is", "fits", "none fits", "does not apply"]
"""fits as it is: without checkpointing. none fits: whichever blocks are checkpointed."""


@dataclass(frozen=True, kw_only=True)
class Checkpointed:
    """A choice of blocks, and its training step.

    Attributes:
        blocks: the numbers of the blocks.
        checkpointing: the value of run.checkpointing that chooses them.
        words: the blocks in words, such as "2, 5, 8 and 11 (global)".
        recomputed_flops: FLOPs that the backward computes again.
        more_flops: their share of the FLOPs of a step that checkpoints nothing.
        recomputed_ms: the time of what is computed again; None without a device.
        encoder: the memory of its step.
    """

    blocks: tuple[int, ...]
    checkpointing: bool | str
    words: str
    recomputed_flops: int
    more_flops: float
    recomputed_ms: float | None
    encoder: Candidate


@dataclass(frozen=True, kw_only=True)
class CheckpointAnswer:
    """The blocks to checkpoint under an attention kernel.

    Attributes:
        attention: the kernel.
        status: whether a choice fits.
        message: why there is no answer.
        best: the choice that fits with the fewest FLOPs; where none fits, the one with the lowest peak.
        least_flops: FLOPs that are computed again at the least: no choice with fewer fits. Those of `best`, if it is proven to
            have the fewest; None if nothing fits.
        least_more_flops: their share of the FLOPs of a step that checkpoints nothing.
        every: all blocks, for comparison; None if that is the answer.
        untried: choices with fewer FLOPs that may fit by what they request, and were not replayed; None: they were not counted.
        replayed: choices that were replayed through the allocator.
    """

    attention: str
    status: CheckpointStatus
    message: str = ""
    best: Checkpointed | None = None
    least_flops: int | None = None
    least_more_flops: float | None = None
    every: Checkpointed | None = None
    untried: int | None = 0
    replayed: int = 0
