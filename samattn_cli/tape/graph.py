"""The graph that autograd would build: a node for each operation and view, with what its backward does.

Nodes are numbered as they are made, as PyTorch's sequence numbers do; backward runs the highest first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from itertools import count
from typing import Any

from .immutable import immutable
from .storage import Shape, Storage

_numbers = count()


@immutable(frozen=True, eq=False)
class Sum:
    """A gradient that autograd still reduces to the shape and casts to the type of its operand (validate_outputs)."""

    gradient: Any
    shape: Shape
    item_bytes: int


Backward = Callable[..., Sequence[Any]]
"""(tape, gradient of each output) -> gradient of each edge: a Tensor, a Sum or None."""


@immutable(frozen=True, eq=False)
class Node:
    """An operation's backward (torch's grad_fn).

    Args:
        backward: its derivative; None for a leaf (AccumulateGrad) and for the edge of a segment.
        edges: where the gradients of its inputs go; None where an input needs none.
        saved: what it keeps alive until it has run, weights left out.
        unpacks: whether it asks for anything that it keeps, be it but a weight.
        scope: the module and operation that it is of; None: those of the node run before.
        outputs: how many gradients it takes.
        shape: of the weight, for a leaf.
    """

    backward: Backward | None
    edges: tuple[Edge | None, ...] = ()
    saved: tuple[Storage, ...] = ()
    unpacks: bool = False
    scope: tuple[str, ...] | None = None
    outputs: int = 1
    shape: Shape = ()
    number: float = field(default_factory=_numbers.__next__)


Edge = tuple[Node, int]
"""A node and which of its outputs' gradients is meant."""


def leaf(shape: Shape) -> Edge:
    """Where the gradient of a weight goes: once it is whole, before any other node."""
    return Node(None, shape=shape, number=math.inf), 0
