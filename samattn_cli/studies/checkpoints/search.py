"""The choice of blocks to checkpoint with the fewest FLOPs that are computed again, with which a training step fits a memory.

In bytes alone the front has it. On a device the allocator's verdict counts, which is that of a replay. What a step asks of the
allocator is a lower bound of what it takes, so a choice whose requests alone exceed the memory need not be replayed. The others
are replayed as far as `WORK` goes: a few of the front, by halving, then those with fewer FLOPs than the best so far, from the
lowest peak on. The answer says whether some were not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...encoder.model import EncoderConfig
from ...records import dataclass
from .arranged import arranged
from .blocks import Blocks, blocks_of, with_blocks
from .front import Choice, counted, every, front

if TYPE_CHECKING:
    from ...tape.inside import Cuda

WORK = 300_000
"""Operations in all that are replayed, which takes some 5 seconds: 62 choices of SAM ViT-H."""

AT_LEAST = 12
"""Choices that are replayed even so."""


@dataclass(frozen=True)
class Found:
    """The answer of a search.

    Attributes:
        choice: the one with the fewest FLOPs that fits; None: none was found.
        nearest: of the choices, the one with the lowest peak.
        untried: choices with fewer FLOPs whose requests fit, and that were not replayed; None: more than were counted.
        replayed: choices that were.
    """

    choice: Choice | None
    nearest: Choice
    untried: int | None = 0
    replayed: int = 0


def in_bytes(config: EncoderConfig, memory_bytes: int) -> Found:
    """The best choice by live bytes."""
    choices = front(blocks_of(config))
    return Found(next((each for each in choices if each.peak_bytes <= memory_bytes), None), choices[-1])


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
    choices = front(blocks)
    tried = _Tried(config, fits, _replays(blocks))
    possible = [each for each in choices if each.peak_bytes <= memory_bytes]
    best = _first_that_fits(possible, tried)
    above = sum(each[True, False].flops for each in blocks.variants) + 1
    while True:
        below = best.flops if best else above
        found = counted(blocks, memory_bytes, below)
        if found is None:
            return Found(best, choices[-1], None, len(tried.verdicts))
        cheaper = _cheaper(blocks, memory_bytes, below, found, tried)
        if cheaper is None:
            return Found(best, choices[-1], found[1] - tried.of(below), len(tried.verdicts))
        best = cheaper


def _cheaper(
    blocks: Blocks, memory_bytes: int, below: int, found: tuple[tuple[Choice, ...], int], tried: _Tried
) -> Choice | None:
    """A choice with fewer FLOPs that fits: all are tried where they are few, else a few of each sum."""
    alike, number = found
    few = every(blocks, memory_bytes, below) if number - tried.of(below) <= tried.left else None
    order = arranged(blocks, alike) if few is None else few
    for each in order:
        if not tried.left:
            return None
        if each.peak_bytes <= memory_bytes and tried.fits(each):
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

    def of(self, below: int) -> int:
        """How many with fewer FLOPs were replayed."""
        return sum(flops < below for flops, _ in self.verdicts.values())


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
