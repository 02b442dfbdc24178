"""Points as a product of groups of coordinates, and the parts into which a pass splits them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from ..records import dataclass

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Group:
    """Coordinates that vary together: arrays of one length by name, and what each place adds to the row of a point."""

    values: Mapping[str, Array]
    rows: Array

    @classmethod
    def of(cls, values: Mapping[str, Array], stride: int = 1) -> Group:
        """A group whose next place is `stride` rows on."""
        return cls(values, np.arange(len(next(iter(values.values())))) * stride)


class Lot:
    """Points that one pass is for. It gets smaller where the pass takes one of two branches.

    Args:
        groups: their product is the points.
        left: gets the points of the other branches.
    """

    def __init__(self, groups: Sequence[Group], left: list[tuple[Group, ...]]) -> None:
        self.groups = tuple(groups)
        self.left = left

    @property
    def points(self) -> dict[str, Array]:
        """The coordinates, each along the dimension of its group."""
        return {
            name: values.reshape(_shape(len(values), place, len(self.groups)))
            for place, group in enumerate(self.groups)
            for name, values in group.values.items()
        }

    @property
    def size(self) -> int:
        """How many points there are."""
        return prod(len(group.rows) for group in self.groups)

    def one_by_one(self) -> Iterator[tuple[Group, ...]]:
        """Each point alone."""
        for places in np.ndindex(*(len(group.rows) for group in self.groups)):
            pairs = zip(self.groups, places, strict=True)
            yield tuple(
                Group({name: own[[at]] for name, own in group.values.items()}, group.rows[[at]])
                for group, at in pairs
            )

    def rows(self, axis: int, where: slice) -> Array:
        """The rows of the points at some places along a dimension."""
        each = [
            (group.rows[where] if place == axis else group.rows).reshape(_shape(-1, place, len(self.groups)))
            for place, group in enumerate(self.groups)
        ]
        return reduce(np.add, each)

    def split(self, chunks: Sequence[Array], axis: int) -> dict[str, Array]:
        """Keep the points at which a relation holds, and leave the others.

        The groups that the relation depends on become one.

        Args:
            chunks: whether it holds, with the length 1 along the dimensions of groups that it does not depend on.
            axis: the dimension along which they follow each other.

        Returns:
            The coordinates of what is kept.
        """
        holds = np.concatenate(chunks, axis)
        on = [place for place, side in enumerate(holds.shape) if side > 1]
        flat = holds.reshape([holds.shape[place] for place in on])
        others, kept = (self._joined(on, np.nonzero(which)) for which in (~flat, flat))
        self.left.append(others)
        self.groups = kept
        return self.points

    def _joined(self, on: Sequence[int], places: Sequence[Array]) -> tuple[Group, ...]:
        """The groups, of which those in `on` are one with some of their places."""
        chosen = [(self.groups[group], at) for group, at in zip(on, places, strict=True)]
        values = {name: own[at] for group, at in chosen for name, own in group.values.items()}
        joined = Group(values, reduce(np.add, (group.rows[at] for group, at in chosen)))
        rest = [group for place, group in enumerate(self.groups) if place not in on[1:]]
        rest[on[0]] = joined
        return tuple(rest)


def _shape(side: int, place: int, groups: int) -> list[int]:
    return [side if place == each else 1 for each in range(groups)]
