"""The time of a choice's parts and blocks, and a bound of its memory, without passes for each choice of checkpointing.

What a block computes, and what it keeps for its backward, does not depend on whether other blocks are checkpointed. So where some
are, each block is that of a step which checkpoints all blocks, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ...encoder.model import EncoderConfig, Section
from ...encoder.plan_rules import is_valid
from ...encoder.registry import REFERENCE
from ...encoder.trained import trains_all
from ...records import replace
from ...tape.memory import live_over
from ...tape.segments import Segment
from ...tape.training import uncached_bytes
from ..passes import Passes


@dataclass
class Parts:
    """The parts and blocks of a choice: those of `passes`, but of `others` where their names are in `named`."""

    passes: Passes
    others: Passes | None = None
    named: frozenset[str] = frozenset()

    @cached_property
    def compute_ms(self) -> float:
        """The time of all forwards and backwards of a step."""
        times = self.passes.times
        if self.others is not None:
            pairs = zip(self._segments, times, self.others.times, strict=True)
            times = tuple(two if segment.name in self.named else one for segment, one, two in pairs)
        return self.passes.rounds * sum(time.ms for time in times)

    @cached_property
    def flops(self) -> int:
        """The FLOPs of all forwards and backwards of a step."""
        flops = [sum(each.flops for each in recordings) for recordings in self.passes.recordings]
        if self.others is not None:
            pairs = zip(self._segments, flops, self.others.recordings, strict=True)
            flops = [
                sum(each.flops for each in two) if segment.name in self.named else one
                for segment, one, two in pairs
            ]
        return int(self.passes.rounds * sum(flops))

    @cached_property
    def section_ms(self) -> dict[Section, float]:
        """The time of the forward and backward of each in one round."""
        if self.others is None:
            return self.passes.section_ms
        others = self.others.section_ms
        return {
            section: others[section] if section[0] in self.named else ms
            for section, ms in self.passes.section_ms.items()
        }

    @cached_property
    def kept_bytes(self) -> int:
        """A number that is not above what is kept at the end of a forward: as if each freed what only others keep."""
        if self.others is None:
            return int(self.passes.step.kept_bytes)
        pairs = zip(self._segments, self.others.step.forward.segments, strict=True)
        return sum(_kept_bytes(two if one.name in self.named else one) for one, two in pairs)

    @property
    def _segments(self) -> tuple[Segment, ...]:
        return self.passes.step.forward.segments


def _kept_bytes(segment: Segment) -> int:
    return int(live_over(segment.recording, segment.kept).change - uncached_bytes(segment))


def least_bytes(parts: Parts, *, has_views: bool) -> int:
    """A number that is not above the most that is live: what is when the backward begins, or in the optimizer's step.

    Args:
        parts: the parts and blocks, with gradients that are not views of buckets.
        has_views: whether gradients are views of buckets, which are there throughout.
    """
    step = parts.passes.step
    begins = parts.kept_bytes + step.output_gradient_bytes
    gradients = 0 if has_views else step.gradients_bytes
    return int(step.before_bytes + max(begins, gradients + step.made_by_optimizer_bytes))


def checkpointing_of(config: EncoderConfig, value: bool) -> EncoderConfig:
    """The same encoder that checkpoints all blocks, or none."""
    return replace(config, run=replace(config.run, checkpointing=value))


def is_composed(config: EncoderConfig) -> bool:
    """Whether blocks of an encoder are checkpointed one by one, so that its parts can be those of other steps."""
    is_ours = config.implementation == REFERENCE and trains_all(config.run.trains)
    return is_ours and not (config.checkpointed_stages or config.unread) and is_valid(config)
