"""The layouts of tokens in memory between parts. A family may have a layout of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any

from ..records import dataclass
from .keys import Size

Sizes = tuple[Any, ...]
"""The sizes of a tensor: numbers or formulas."""


@dataclass(frozen=True)
class TokenLayout:
    """A layout of tokens; layouts with the same name are equal.

    Attributes:
        name: its name in tables, such as "grid".
        words: its name in messages, after "takes" and "outputs": "tokens on a grid".
        shape: (B, the grid, tokens of an image, C) -> the shape of the stream.
        joins_images: whether the tokens of all images are one sequence.
        cuts_images: whether each image is cut into windows, each of which lies as an image of its own.
    """

    name: str
    words: str = field(compare=False)
    shape: Callable[[Any, Size, Any, Any], Sizes] = field(compare=False)
    joins_images: bool = field(default=False, compare=False)
    cuts_images: bool = field(default=False, compare=False)


def _on_a_grid(B: Any, grid: Size, _tokens: Any, C: Any) -> Sizes:
    return (B, *grid, C)


def _in_a_sequence(B: Any, _grid: Size, tokens: Any, C: Any) -> Sizes:
    return B, tokens, C


def _packed(B: Any, _grid: Size, tokens: Any, C: Any) -> Sizes:
    return B * tokens, C


GRID = TokenLayout("grid", "tokens on a grid", _on_a_grid)
SEQUENCE = TokenLayout("sequence", "a token sequence", _in_a_sequence)
WINDOWS = TokenLayout("windows", "a token sequence for each window", _in_a_sequence, cuts_images=True)
PACKED = TokenLayout("packed", "a packed sequence of all images", _packed, joins_images=True)
