"""A search of all placements of some numbers of global layers for the Pareto front of cost against information flow.

A cost that adds up over layers is minimized by a dynamic program (`layered.py`), whose time hardly depends on how many
placements there are. Other costs, and limits that some placements of a number keep and others do not, are looked at one
placement after the other (`enumerated.py`). Both are exact.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import comb

from ..progress import Tell, silent
from .layered import points_of_layers
from .points import Point, Question, front
from .table import Table

FEW = 100
"""Placements so few that they are looked at without NumPy."""


@dataclass(frozen=True)
class Result:
    """The result of a search: how many placements were examined, how many are within the budget, and the front."""

    searched: int
    within: int
    front: tuple[Point, ...]


def looked_at(
    table: Table, numbers: Sequence[int], question: Question, refused: Collection[int] = ()
) -> list[int]:
    """The numbers of global layers of which each placement is looked at; for the others there is the dynamic program."""
    of_refused = {mask.bit_count() for mask in refused}
    return [
        number
        for number in numbers
        if not (
            question.adds_up and number and number not in of_refused and question.is_certain(table, number)
        )
    ]


def search(
    table: Table,
    name: str,
    numbers: Sequence[int],
    question: Question,
    tell: Tell = silent,
    refused: Collection[int] = (),
) -> Result:
    """Search all placements of these numbers of global layers but those that are refused.

    `tell` is called with how many were looked at; `name` is the encoder's, for errors.
    """
    one_by_one = looked_at(table, numbers, question, refused)
    together = [number for number in numbers if number not in one_by_one]
    layers = len(table.layers)
    few = sum(comb(layers, number) for number in one_by_one) - len(refused)
    many = sum(comb(layers, number) for number in together)
    tell(0, few + many)
    points, within = _points(table, name, one_by_one, question, tell, refused, few)
    points += points_of_layers(table, together, question)
    tell(few + many, few + many)
    return Result(few + many, within + many, front(points))


def _points(
    table: Table,
    name: str,
    numbers: Sequence[int],
    question: Question,
    tell: Tell,
    refused: Collection[int],
    all_: int,
) -> tuple[list[Point], int]:
    """The points of placements that are looked at one by one, and how many keep the limits."""
    layers = len(table.layers)
    if set(numbers) <= {0, 1} and all_ <= FEW:
        every = [*([0] if 0 in numbers else []), *(1 << bit for bit in range(layers) if 1 in numbers)]
        kept = [mask for mask in every if mask not in refused and question.is_within(table, mask)]
        return [question.point(table, mask) for mask in kept], len(kept)
    from .enumerated import points_of_each

    return points_of_each(table, name, numbers, question, refused, tell, all_)
