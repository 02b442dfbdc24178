"""The graph that autograd would build: a node for each operation and view, with its backward.

Nodes are numbered in the order in which they are made, like PyTorch's sequence numbers. Backward runs the highest first.
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
    """A gradient that autograd still has to sum to the shape and cast to the type of its operand (validate_outputs)."""

    gradient: Any
    shape: Shape
    item_bytes: int


Backward = Callable[..., Sequence[Any]]
"""(tape, gradient of each output, what the node was given) -> gradient of each edge: a Tensor, a Sum or None."""


@immutable(frozen=True, eq=False)
class Node:
    """An operation's backward (torch's grad_fn).

    Args:
        backward: its derivative; None for a leaf (AccumulateGrad) and for an entry of a segment.
        edges: get the gradients of its inputs; None for an input that needs no gradient.
        given: what the derivative takes after the gradients, such as operands of the forward.
        saved: storages that it keeps alive until it has run, without weights.
        unpacks: whether it uses saved tensors, including weights; of copied nodes, how many of them do.
        scope: its module and operation; None: those of the node that ran before.
        outputs: number of gradients that it takes.
        shape: for a leaf, the shape of the weight.
        copied: of several nodes in one, whose they are copied from.
    """

    backward: Backward | None
    edges: tuple[Edge | None, ...] = ()
    given: tuple[Any, ...] = ()
    saved: tuple[Storage, ...] = ()
    unpacks: int = False
    scope: tuple[str, ...] | None = None
    outputs: int = 1
    shape: Shape = ()
    number: float = field(default_factory=_numbers.__next__)
    copied: Copied | None = None


@immutable(frozen=True, eq=False)
class Copied:
    """Nodes that differ in nothing but storages from those of another run (see `alike.py`).

    Attributes:
        template: that run, which is recorded after its copies, but has its backward before theirs.
        storages: the storages of these nodes, in the order of those of that run.
    """

    template: list[Any]
    storages: tuple[Storage, ...]


Edge = tuple[Node, int]
"""A node, and the index of one of its outputs."""

NO_GRAPH: Edge = Node(None), 0
"""The edge of each tensor that needs a gradient, in a pass that makes no graph because it has no backward."""


def next_number() -> float:
    """A number that is larger than those of all nodes so far."""
    return next(_numbers)


def leaf(shape: Shape) -> Edge:
    """The edge of a weight's gradient. Its node runs as soon as the gradient is complete, before all others."""
    return Node(None, shape=shape, number=math.inf), 0
