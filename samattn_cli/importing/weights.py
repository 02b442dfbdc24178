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

GELU = "GELU"
"""The name of torch's class and of timm's own."""

Names = str | tuple[str | None, ...] | None
"""Samattn's name of a weight; a tuple if equal parts of its first dimension are weights of their own; None: not the encoder's."""


@dataclass(frozen=True)
class Weights:
    """The encoder's weights by samattn's names.

    Attributes:
        label: how messages name the checkpoint.
        shapes: name to shape.
        original_names: name to the name in the checkpoint.
        others: name in the checkpoint to shape, of what is not the encoder's. Buffers show what weights do not.
        attributes: the attributes of a timm model's modules by "name.attribute", and the classes of activations by their
            names; empty for a file.
        notes: sentences for readers of the config.
        warnings: sentences for whoever runs the import. They go to standard error and into the config.
    """

    label: str
    shapes: Shapes
    original_names: Mapping[str, str] = field(default_factory=dict)
    others: Shapes = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def shape(self, name: str, dims: int) -> tuple[int, ...]:
        """The shape of a weight that must have `dims` dimensions, none of them 0.

        Raises:
            ImportFailedError: if there is no such weight, or it has another shape.
        """
        if name not in self.shapes:
            raise self.missing(name)
        return self._checked(name, self.shapes[name], dims)

    def other(self, name: str, dims: int) -> tuple[int, ...]:
        """The shape of what is in the checkpoint and not the encoder's, by its name there; likewise.

        Raises:
            ImportFailedError: if it has another shape.
        """
        return self._checked(name, self.others[name], dims)

    def _checked(self, name: str, shape: tuple[int, ...], dims: int) -> tuple[int, ...]:
        if len(shape) != dims or not all(shape):
            raise self.error(
                "wrong-weight-shape",
                f"weight {name!r} has shape {list(shape)} instead of {dims} dimensions: this is another model",
            )
        return shape

    def square(self, name: str) -> int:
        """The side of a convolution's square kernel."""
        *_, height, width = self.shape(name, 4)
        if height != width:
            raise self.error(
                "unsupported-model",
                f"weight {name!r} is a kernel of {height}x{width}; samattn supports squares only",
            )
        return height

    def count(self, pattern: str) -> int:
        """How many weights are named like `pattern` with "{}" replaced by 0, 1, 2, ..."""
        return next(number for number in count() if pattern.format(number) not in self.shapes)

    def count_at_least_one(self, pattern: str) -> int:
        """`count`, which must not be 0.

        Raises:
            ImportFailedError: if it is.
        """
        if not (number := self.count(pattern)):
            raise self.missing(pattern.format(0))
        return number

    def missing(self, name: str) -> ImportFailedError:
        """The error for a weight that is missing."""
        return self.error(
            "missing-weight", f"has no weight {name!r} (samattn's name): it is incomplete, or another model"
        )

    def error(self, code: str, text: str) -> ImportFailedError:
        """An error about this checkpoint."""
        return ImportFailedError(code, f"{self.label}: {text}")


def no_differences(_shapes: Shapes, _attributes: Mapping[str, Any]) -> list[str]:
    """None that are known."""
    return []


@dataclass(frozen=True)
class CheckpointKind:
    """A kind of checkpoint.

    Attributes:
        matches: whether a checkpoint with these weights is of this kind.
        names: of a checkpoint's weights makes a function from a name in it to samattn's.
        read: the config's keys by the encoder's weights.
        activations: the classes of a timm model's activations that it can read.
        published: (width, depth) of published models of this kind, which no preset has.
        differences: what a model that is nearly of this kind has that samattn cannot express, in words, by the shapes of its
            weights and the attributes of a timm model's modules.
    """

    matches: Callable[[Shapes], bool]
    names: Callable[[Shapes], Callable[[str], Names]]
    read: Callable[[Weights], Keys]
    activations: tuple[str, ...] = (GELU,)
    differences: Callable[[Shapes, Mapping[str, Any]], list[str]] = no_differences
    published: frozenset[tuple[int, int]] = frozenset()


def renamer(*patterns: tuple[str, str | None]) -> Callable[[str], str | None]:
    """A function that renames by the first pattern that matches a whole name. Other names stay as they are.

    Args:
        patterns: a regular expression and its replacement each; None: the weight is not the encoder's.
    """
    compiled = [(re.compile(pattern), ours) for pattern, ours in patterns]

    def name(theirs: str) -> str | None:
        for pattern, ours in compiled:
            if match := pattern.fullmatch(theirs):
                return None if ours is None else match.expand(ours)
        return theirs

    return name


def square_side(area: int) -> int | None:
    """The side of a square of that area; None if it is not a whole number."""
    side = math.isqrt(area)
    return side if side * side == area else None
