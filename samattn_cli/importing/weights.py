"""A checkpoint's weights by name, as an importer asks for them, and what an importer declares of a kind of checkpoint."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ..errors import ImportFailedError
from .checkpoint import Shapes
from .description import Keys


@dataclass(frozen=True)
class Weights:
    """The encoder's weights by samattn's names.

    Attributes:
        label: what messages call the checkpoint.
        shapes: name to shape.
        theirs: name to the checkpoint's own name.
        beside: what is not the encoder's, by its own names: buffers tell what weights do not.
        facts: what a model in memory says of its modules by "name.attribute"; a file says nothing.
        notes: what whoever reads the config should know, a sentence each.
        warnings: what whoever imports it should know at once, a sentence each: standard error says it too.
    """

    label: str
    shapes: Shapes
    theirs: Mapping[str, str] = field(default_factory=dict)
    beside: Shapes = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def shape(self, name: str, dims: int) -> tuple[int, ...]:
        """The shape of a weight of so many dimensions.

        Raises:
            ImportFailedError: if there is none of that name, or it has others.
        """
        if name not in self.shapes:
            raise self.unfit(f"has no weight {name!r}: it is incomplete, or of another model")
        found = self.shapes[name]
        if len(found) != dims or not all(found):
            raise self.unfit(
                f"its weight {name!r} is {list(found)}, not of {dims} dimensions: it is of another model"
            )
        return found

    def square(self, name: str) -> int:
        """The side of a convolution's square kernel."""
        *_, height, width = self.shape(name, 4)
        if height != width:
            raise self.unfit(f"its weight {name!r} is a kernel of {height}x{width}: samattn takes squares")
        return height

    def count(self, pattern: str) -> int:
        """How many weights there are of a name with a number in place of "{}", from 0 on."""
        return next(number for number in count() if pattern.format(number) not in self.shapes)

    def some(self, pattern: str) -> int:
        """The same, of which there must be one."""
        if not (found := self.count(pattern)):
            raise self.unfit(f"has no weight {pattern.format(0)!r}: it is incomplete, or of another model")
        return found

    def unfit(self, said: str) -> ImportFailedError:
        """What is wrong with it."""
        return ImportFailedError(f"{self.label}: {said}")


@dataclass(frozen=True)
class Checkpoint:
    """A kind of checkpoint.

    Attributes:
        is_one: whether weights of these names are of this kind.
        names: the names there -> (name there -> samattn's name; None for what is not the encoder's).
        read: the config's keys by the encoder's weights.
    """

    is_one: Callable[[Shapes], bool]
    names: Callable[[Shapes], Callable[[str], str | None]]
    read: Callable[[Weights], Keys]


def renamed(*patterns: tuple[str, str | None]) -> Callable[[str], str | None]:
    """Names by the first pattern that a whole name matches; None: not the encoder's. Others stay what they are."""
    compiled = [(re.compile(pattern), ours) for pattern, ours in patterns]

    def name(theirs: str) -> str | None:
        for pattern, ours in compiled:
            if match := pattern.fullmatch(theirs):
                return None if ours is None else match.expand(ours)
        return theirs

    return name


def side_of(area: int) -> int | None:
    """The side of a square of so many; None if it is none."""
    side = math.isqrt(area)
    return side if side * side == area else None
