"""The choices of blocks to checkpoint, by the FLOPs that they compute again and the most that is then live.

Choices grow block by block. What later blocks add depends only on four sums over the blocks so far. So of two beginnings with
equal sums one is enough, and one that is at least as good in all sums, in FLOPs and in the peak so far replaces the other: any
end that suits the other suits it as well. Equal blocks therefore are not tried one by one, and no choice is missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import gcd
from typing import Any

import numpy as np

from ...records import dataclass
from .blocks import Blocks

Ints = np.ndarray[Any, np.dtype[np.int64]]

MOST_STATES = 20_000
"""Of beginnings with different sums that are counted."""


@dataclass(frozen=True)
class Choice:
    """Blocks to checkpoint, the FLOPs that are computed again, and the most bytes that are live at once."""

    blocks: tuple[int, ...]
    flops: int
    peak_bytes: int


@dataclass(frozen=True)
class _Beginnings:
    """Choices among the blocks so far, one in each place of the arrays: their sums, their peak, and themselves as bits."""

    flops: Ints
    kept: Ints
    stays: Ints
    undone: Ints
    peak: Ints
    chosen: list[int]

    def take(self, places: Ints) -> _Beginnings:
        """Those in some places."""
        arrays: dict[str, Any] = {name: getattr(self, name)[places] for name in ARRAYS}
        return _Beginnings(**arrays, chosen=[self.chosen[place] for place in places.tolist()])

    def compared(self) -> Ints:
        """What is compared, a row for each beginning: less is better. Beginnings with and without a checkpoint differ."""
        some = np.array([bool(chosen) for chosen in self.chosen], np.int64)
        columns = [some, *(getattr(self, name) for name in ARRAYS)]
        return np.stack(columns, axis=1)


ARRAYS = ("flops", "kept", "stays", "undone", "peak")


def front(blocks: Blocks, most: int | None = None) -> tuple[Choice, ...]:
    """The choices that no other choice beats in FLOPs and peak, from the fewest FLOPs on; with `most`, of peaks up to it."""
    unit, beginnings = _unit(blocks), _start(blocks)
    for at in range(len(blocks.variants)):
        grown, _ = _grown(blocks, at, beginnings, unit, most)
        beginnings = grown.take(_undominated(grown.compared()))
    found = sorted(zip(beginnings.flops.tolist(), beginnings.peak.tolist(), beginnings.chosen, strict=True))
    choices: list[Choice] = []
    for flops, peak, chosen in found:
        if not choices or peak < choices[-1].peak_bytes:
            choices.append(Choice(_numbers(chosen), flops * unit, peak))
    return tuple(choices)


@dataclass(frozen=True)
class Counted:
    """Choices that are not listed one by one.

    Attributes:
        choices: one for each of their sums, from the lowest peak on.
        by_flops: how many there are of each number of FLOPs, from the fewest FLOPs on.
    """

    choices: tuple[Choice, ...]
    by_flops: dict[int, int]

    @property
    def number(self) -> int:
        """How many there are."""
        return sum(self.by_flops.values())


def counted(blocks: Blocks, most: int, below: int) -> Counted | None:
    """Choices with peaks up to `most` that compute fewer FLOPs again than `below`; None if there are too many sums."""
    unit, beginnings, numbers = _unit(blocks), _start(blocks), [1]
    for at in range(len(blocks.variants)):
        grown, origins = _grown(blocks, at, beginnings, unit, most)
        cheaper = np.flatnonzero(grown.flops * unit < below)
        beginnings, numbers = _merged(
            grown.take(cheaper), [numbers[origins[place]] for place in cheaper.tolist()]
        )
        if len(numbers) > MOST_STATES:
            return None
    by_flops: dict[int, int] = {}
    for flops, number in sorted(zip(beginnings.flops.tolist(), numbers, strict=True)):
        by_flops[flops * unit] = by_flops.get(flops * unit, 0) + number
    return Counted(_by_peak(beginnings, unit), by_flops)


def every(blocks: Blocks, most: int, below: int) -> tuple[Choice, ...] | None:
    """Each of those choices; None if there are too many beginnings."""
    unit, beginnings = _unit(blocks), _start(blocks)
    for at in range(len(blocks.variants)):
        grown, _ = _grown(blocks, at, beginnings, unit, most)
        beginnings = grown.take(np.flatnonzero(grown.flops * unit < below))
        if len(beginnings.chosen) > MOST_STATES:
            return None
    return _by_peak(beginnings, unit)


def choice_of(blocks: Blocks, chosen: Sequence[int]) -> Choice:
    """The choice of these blocks."""
    begun = _start(blocks)
    for at, number in enumerate(blocks.numbers):
        begun = _with(blocks, at, begun, is_chosen=number in chosen, before=bool(begun.chosen[0]), unit=1)
    return Choice(tuple(chosen), int(begun.flops[0]), int(begun.peak[0]))


def _by_peak(found: _Beginnings, unit: int) -> tuple[Choice, ...]:
    """Choices, from the lowest peak on."""
    ordered = found.take(np.argsort(found.peak, kind="stable"))
    values = zip(ordered.chosen, ordered.flops.tolist(), ordered.peak.tolist(), strict=True)
    return tuple(Choice(_numbers(chosen), flops * unit, peak) for chosen, flops, peak in values)


def _unit(blocks: Blocks) -> int:
    """The largest number that divides the FLOPs of all blocks."""
    return reduce(gcd, (each[True, False].flops for each in blocks.variants)) or 1


def _numbers(chosen: int) -> tuple[int, ...]:
    return tuple(number for number in range(chosen.bit_length()) if chosen >> number & 1)


def _start(blocks: Blocks) -> _Beginnings:
    zero = np.zeros(1, np.int64)
    return _Beginnings(zero, zero, zero, zero, zero + blocks.elsewhere, [0])


def _grown(
    blocks: Blocks, at: int, beginnings: _Beginnings, unit: int, most: int | None
) -> tuple[_Beginnings, list[int]]:
    """The beginnings with one part or block more, checkpointed and not, and of which beginning each is."""
    parts, origins = [], []
    for is_chosen in (False, True) if blocks.is_choice(at) else (False,):
        for before in (False, True):
            places = np.array(
                [i for i, each in enumerate(beginnings.chosen) if bool(each) == before], np.int64
            )
            if len(places):
                parts.append(
                    _with(blocks, at, beginnings.take(places), is_chosen=is_chosen, before=before, unit=unit)
                )
                origins += places.tolist()
    if not parts:
        return beginnings, origins
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS
    }
    grown = _Beginnings(**arrays, chosen=[chosen for part in parts for chosen in part.chosen])
    if most is None:
        return grown, origins
    good = np.flatnonzero(grown.peak <= most)
    return grown.take(good), [origins[place] for place in good.tolist()]


def _with(
    blocks: Blocks, at: int, begun: _Beginnings, *, is_chosen: bool, before: bool, unit: int
) -> _Beginnings:
    """Beginnings with one part or block more."""
    block, number = blocks.variants[at][is_chosen, before], blocks.numbers[at]
    stays, undone = begun.stays + block.stays, begun.undone + block.undone
    is_last = at == len(blocks.variants) - 1
    in_backward = blocks.in_backward + stays if is_last else blocks.at_the_end + undone
    in_forward = blocks.in_forward + begun.kept
    peak = np.maximum(in_forward + block.kept_rise, in_backward + block.undone_rise)
    return _Beginnings(
        flops=begun.flops + (block.flops // unit if is_chosen else 0),
        kept=begun.kept + block.kept,
        stays=stays,
        undone=undone,
        peak=np.maximum(begun.peak, peak),
        chosen=[each | 1 << number for each in begun.chosen]
        if is_chosen and number is not None
        else begun.chosen,
    )


def _undominated(rows: Ints) -> Ints:
    """The places of rows to which no other row is at least as good in all columns; of equal rows, the first.

    The first column must be equal. A row that is at least as good comes before, in the order of the columns.
    """
    order = np.lexsort(rows.T[::-1])
    kept: Ints = np.empty((0, rows.shape[1]), np.int64)
    places: list[int] = []
    for place in order.tolist():
        row = rows[place]
        if len(kept) and bool(np.any((kept[:, 0] == row[0]) & np.all(kept <= row, axis=1))):
            continue
        places.append(place)
        kept = rows[places]
    return np.array(places, np.int64)


def _merged(beginnings: _Beginnings, numbers: Sequence[int]) -> tuple[_Beginnings, list[int]]:
    """Beginnings with equal sums become that of the lowest peak, and their numbers are added."""
    best: dict[tuple[int, ...], int] = {}
    sums: dict[tuple[int, ...], int] = {}
    rows = beginnings.compared()
    for place, (*key, peak) in enumerate(rows.tolist()):
        same = tuple(key)
        sums[same] = sums.get(same, 0) + numbers[place]
        if same not in best or peak < rows[best[same], -1]:
            best[same] = place
    places = np.array(list(best.values()), np.int64)
    return beginnings.take(places), list(sums.values())
