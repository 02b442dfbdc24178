"""A checkpoint's weights by name, as an importer asks for them."""

from __future__ import annotations

from itertools import count

from ..errors import ImportFailedError
from .checkpoint import Shapes


class Weights:
    """Shapes by name."""

    def __init__(self, shapes: Shapes, label: str = "the checkpoint") -> None:
        self.shapes = shapes
        self.label = label

    def within(self, prefix: str) -> Weights:
        """Those whose names begin with `prefix`, without it; all of them where none does."""
        found = {
            name.removeprefix(prefix): shape for name, shape in self.shapes.items() if name.startswith(prefix)
        }
        return Weights(found or self.shapes, self.label)

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight.

        Raises:
            ImportFailedError: if there is none of that name.
        """
        if name not in self.shapes:
            raise ImportFailedError(
                f"{self.label}: has no weight {name!r}: it is incomplete, or of another model"
            )
        return self.shapes[name]

    def count(self, pattern: str) -> int:
        """How many weights there are of a name with a number in place of "{}", from 0 on."""
        return next(number for number in count() if pattern.format(number) not in self.shapes)
