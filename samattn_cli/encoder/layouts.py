"""How tokens lie in memory as they flow from part to part. A family may bring a layout of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .keys import Pair

Sizes = tuple[Any, ...]
"""Of a tensor: numbers or formulas."""


@dataclass(frozen=True)
class TokenLayout:
    """A way for tokens to lie; layouts of one name are the same.

    Attributes:
        name: in tables: "grid".
        words: in messages, after "takes" and "not": "tokens on a grid".
        shape: (B, (H, W), tokens of an image, C) -> the shape of the stream.
        joins_images: whether the tokens of all images are one sequence.
    """

    name: str
    words: str = field(compare=False)
    shape: Callable[[Any, Pair, Any, Any], Sizes] = field(compare=False)
    joins_images: bool = field(default=False, compare=False)


def _on_a_grid(B: Any, grid: Pair, _tokens: Any, C: Any) -> Sizes:
    return (B, *grid, C)


def _in_a_sequence(B: Any, _grid: Pair, tokens: Any, C: Any) -> Sizes:
    return B, tokens, C


def _packed(B: Any, _grid: Pair, tokens: Any, C: Any) -> Sizes:
    return B * tokens, C


GRID = TokenLayout("grid", "tokens on a grid", _on_a_grid)
SEQUENCE = TokenLayout("sequence", "a token sequence", _in_a_sequence)
PACKED = TokenLayout("packed", "a packed sequence of all images", _packed, joins_images=True)
