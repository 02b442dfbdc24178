"""The choice of blocks to checkpoint with the fewest FLOPs that are computed again, with which a training step fits a memory.

In bytes alone the front has it. On a device the allocator's verdict counts, which is that of a replay. What a step asks of the
allocator is a lower bound of what it takes, so a choice whose requests alone exceed the memory need not be replayed. Of the
others:

- A few of the front are replayed, by halving, for a choice that fits.
- Those with the fewest FLOPs are replayed, all that have equal FLOPs together. As long as none of them fits, no choice that
  fits has fewer FLOPs than the next: the lower bound. The first that fits has the fewest, and the search is over.
- Equal FLOPs may have millions of choices, in as many places. Then those that are cheaper than the best so far are replayed
  from the lowest peak on.

`WORK` limits the replays. The answer has the lower bound, and how many choices between it and the best were not replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...encoder.model import EncoderConfig
from ...records import dataclass
from .arranged import arranged
from .blocks import Blocks, blocks_of, with_blocks
from .front import Choice, Counted, counted, every, front

if TYPE_CHECKING:
    from ...tape.inside import Cuda

WORK = 500_000
"""Operations in all that are replayed, which takes some 5 seconds: 103 choices of SAM ViT-H."""

AT_LEAST = 12
"""Choices that are replayed even so."""


@dataclass(frozen=True)
class Found:
    """The answer of a search.

    Attributes:
        choice: the one with the fewest FLOPs that fits; None: none was found.
        nearest: of the choices, the one with the lowest peak.
        least_flops: no choice with fewer FLOPs fits. Those of the choice, if it is proven to have the fewest; None if no choice
            fits.
        untried: choices with fewer FLOPs whose requests fit, and that were not replayed; None: more than were counted.
        replayed: choices that were.
    """

    choice: Choice | None
    nearest: Choice
    least_flops: int | None
    untried: int | None = 0
    replayed: int = 0


def in_bytes(config: EncoderConfig, memory_bytes: int) -> Found:
    """The best choice by live bytes."""
    choices = front(blocks_of(config))
    best = next((each for each in choices if each.peak_bytes <= memory_bytes), None)
    return Found(best, choices[-1], None if best is None else best.flops)


def on_device(
    config: EncoderConfig, cuda: Cuda, memory_bytes: int, fits: Callable[[EncoderConfig], bool]
) -> Found:
    """The best choice by the allocator's verdict.

    Args:
        config: the encoder, of which a training step is meant.
        cuda: the device.
        memory_bytes: what a process has of its memory.
        fits: replays a step, and says whether the allocator finds room.
    """
    blocks = blocks_of(config, cuda)
    tried = _Tried(config, fits, _replays(blocks))
    return _Search(blocks, memory_bytes, tried).run()


class _Search:
    """A search among the choices of an encoder whose requests fit a memory."""

    def __init__(self, blocks: Blocks, memory_bytes: int, tried: _Tried) -> None:
        self.blocks, self.memory_bytes, self.tried = blocks, memory_bytes, tried
        self.best: Choice | None = None

    @property
    def below(self) -> int:
        """Of how many FLOPs a better choice has fewer."""
        above = sum(each[True, False].flops for each in self.blocks.variants) + 1
        return self.best.flops if self.best else above

    def run(self) -> Found:
        """The answer."""
        choices = front(self.blocks)
        possible = [each for each in choices if each.peak_bytes <= self.memory_bytes]
        self.best = _first_that_fits(possible, self.tried)
        while (found := self._cheaper_ones()) and (cheaper := self._cheaper(found)):
            self.best = cheaper
        best, replayed = self.best, len(self.tried.verdicts)
        if found is None:
            least = possible[0].flops if possible else None
            return Found(best, choices[-1], least, None, replayed)
        untried = {flops: number - self.tried.of(flops) for flops, number in found.by_flops.items()}
        proven = None if best is None else best.flops
        least = next((flops for flops, number in untried.items() if number), proven)
        return Found(best, choices[-1], least, sum(untried.values()), replayed)

    def _cheaper_ones(self) -> Counted | None:
        return counted(self.blocks, self.memory_bytes, self.below)

    def _cheaper(self, found: Counted) -> Choice | None:
        """A choice with fewer FLOPs that fits. Where not all can be replayed, half of the replays are for likely ones."""
        untried = found.number - sum(map(self.tried.of, found.by_flops))
        kept_back = 0 if untried <= self.tried.left else self.tried.left // 2
        return self._from_below(found, kept_back) or self._arranged(found) or self._from_below(found, 0)

    def _from_below(self, found: Counted, kept_back: int) -> Choice | None:
        """The first that fits of the choices from the fewest FLOPs on, as far as all of equal FLOPs can be replayed."""
        for flops, number in found.by_flops.items():
            if number - self.tried.of(flops) > self.tried.left - kept_back:
                return None
            listed = every(self.blocks, self.memory_bytes, flops + 1)
            if listed is None:
                return None
            for each in listed:
                if each.flops == flops and self.tried.fits(each):
                    return each
        return None

    def _arranged(self, found: Counted) -> Choice | None:
        """A choice that fits of a few of each sum."""
        for each in arranged(self.blocks, found.choices):
            if not self.tried.left:
                return None
            if each.flops < self.below and each.peak_bytes <= self.memory_bytes and self.tried.fits(each):
                return each
        return None


class _Tried:
    """The verdicts on choices that were replayed."""

    def __init__(self, config: EncoderConfig, fits: Callable[[EncoderConfig], bool], most: int) -> None:
        self.config, self._fits, self.left = config, fits, most
        self.verdicts: dict[tuple[int, ...], tuple[int, bool]] = {}

    def fits(self, choice: Choice) -> bool:
        """Whether it fits; False too if no more are replayed."""
        if choice.blocks not in self.verdicts:
            if not self.left:
                return False
            self.left -= 1
            verdict = self._fits(with_blocks(self.config, choice.blocks))
            self.verdicts[choice.blocks] = choice.flops, verdict
        return self.verdicts[choice.blocks][1]

    def of(self, flops: int) -> int:
        """How many with as many FLOPs were replayed."""
        return sum(flops == own for own, _ in self.verdicts.values())


def _replays(blocks: Blocks) -> int:
    """How many choices are replayed at most."""
    return max(AT_LEAST, WORK // max(1, blocks.operations))


def _first_that_fits(choices: list[Choice], tried: _Tried) -> Choice | None:
    """One that fits after one that does not, found by halving: those after it take less."""
    if not choices or not tried.fits(choices[-1]):
        return None
    low, high = 0, len(choices) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if tried.fits(choices[middle]) else (middle + 1, high)
    return choices[high]
