"""Lines of a panel that lie on each other: one of them is drawn, and the others are named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .lines_picture import Line, Picture

NEAR = 0.002
"""Lines lie on each other if each value of one is within this share of that of the other: less than the width of a line."""
MOST_NAMES = 4
"""Lines that a sentence names."""
AS_IT_IS = "as it is"


def without_copies(lines: Sequence[Line]) -> tuple[list[Line], list[list[Line]]]:
    """The lines to draw, and the groups of lines that lie on each other, of which the first is drawn."""
    groups: list[list[Line]] = []
    for line in lines:
        group = next((group for group in groups if _lie_on_each_other(group[0], line)), None)
        if group is None:
            groups.append([line])
        else:
            group.append(line)
    return [group[0] for group in groups], [group for group in groups if len(group) > 1]


def _lie_on_each_other(one: Line, other: Line) -> bool:
    pairs = zip(one.ys, other.ys, strict=False)
    return list(one.xs) == list(other.xs) and all(abs(a - b) <= NEAR * max(abs(a), abs(b)) for a, b in pairs)


def names_alike(groups: Sequence[Sequence[Line]], picture: Picture) -> list[str]:
    """A sentence for each group."""
    several = len({line.config for line in picture.lines}) > 1
    return [_sentence(group, several=several) for group in groups]


def _sentence(group: Sequence[Line], *, several: bool) -> str:
    """Variants of one config by their names alone, others with their configs."""
    are_equal = all(list(line.ys) == list(group[0].ys) for line in group)
    end = f"{'' if are_equal else 'nearly '}one line"
    if len({line.config for line in group}) == 1:
        whose = f"{group[0].config}: " if several else ""
        return f"{whose}{' and '.join(line.variant for line in group)} are {end}"
    names = [line.config if line.variant == AS_IT_IS else f"{line.config} {line.variant}" for line in group]
    more = f"; and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{'; '.join(names[:MOST_NAMES])}{more} are {end}"
