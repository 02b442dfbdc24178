"""Choices of as many blocks of each kind in other places.

Equal blocks take the same live bytes wherever they are, nearly. What the allocator reserves depends on where they are, and no
rule is known: of SAM ViT-H's windowed blocks the last four need less than the first six.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from random import Random

from .blocks import Blocks
from .front import Choice, choice_of

Kinds = Sequence[Sequence[int]]
"""The numbers of the blocks of each kind."""


SHUFFLES = 24
"""Choices of each sum that are drawn by lot after the others."""


def arranged(blocks: Blocks, alike: Sequence[Choice]) -> Iterator[Choice]:
    """Each of some choices, then with the last, the evenly spread and the first blocks of the commonest kind, then by lot."""
    kinds, seen, lot = _kinds(blocks), set(), Random(0)  # noqa: S311 - the same lot each time
    for chosen in chain(_regular(kinds, alike), _by_lot(kinds, alike, lot)):
        if chosen not in seen:
            seen.add(chosen)
            yield choice_of(blocks, chosen)


def _regular(kinds: Kinds, alike: Sequence[Choice]) -> Iterator[tuple[int, ...]]:
    numbers = max(kinds, key=len)
    for choice in alike:
        others = set(choice.blocks) - set(numbers)
        yield choice.blocks
        for places in _places(numbers, len(choice.blocks) - len(others)):
            yield tuple(sorted(others | places))


def _by_lot(kinds: Kinds, alike: Sequence[Choice], lot: Random) -> Iterator[tuple[int, ...]]:
    for choice in alike:
        counts = [len(set(numbers) & set(choice.blocks)) for numbers in kinds]
        for _ in range(SHUFFLES):
            drawn = (lot.sample(numbers, count) for numbers, count in zip(kinds, counts, strict=True))
            yield tuple(sorted(number for some in drawn for number in some))


def _places(numbers: Sequence[int], count: int) -> Iterator[set[int]]:
    """The last, evenly spread and first of some numbers."""
    many = len(numbers)
    yield set(numbers[many - count :])
    yield {numbers[(2 * place + 1) * many // (2 * count)] for place in range(count)}
    yield set(numbers[:count])


def _kinds(blocks: Blocks) -> Kinds:
    """The numbers of the blocks that may be checkpointed, those with equal terms together."""
    kinds: list[tuple[object, list[int]]] = []
    for at, number in enumerate(blocks.numbers):
        if number is None or not blocks.is_choice(at):
            continue
        terms = blocks.variants[at]
        same = next((each for known, each in kinds if known == terms), None)
        if same is None:
            kinds.append((terms, same := []))
        same.append(number)
    return [each for _, each in kinds] or [[]]
