"""Operations as seen by tools that hook modules or replace torch's functions."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..records import dataclass
from .conventions import ancestors
from .ops import Op, Parameter, Recording, parameter_elements
from .storage import Dim


@dataclass(frozen=True)
class Call:
    """An operation and its module.

    Attributes:
        op: the operation.
        weights: those of its module's own weight and bias that it uses, for the first time or again.
        is_leaf: whether its module has no children.
    """

    op: Op
    weights: tuple[Parameter, ...]
    is_leaf: bool

    @property
    def is_module(self) -> bool:
        """Whether its module does nothing else. The module is then of one of torch's own classes."""
        return self.is_leaf and self.op.name == self.op.module

    @property
    def is_transposed(self) -> bool:
        """For a convolution: whether it is transposed, so that its weights are used at each place of the input."""
        return bool(self.op.macs != self.places * parameter_elements(self.weights[0]))

    @property
    def places(self) -> Dim:
        """For a convolution: places in its output, over all images."""
        return self.elements_out // self.op.leaving[1]

    @property
    def elements_in(self) -> Dim:
        """Numbers in its input."""
        return math.prod(self.op.entering)

    @property
    def elements_out(self) -> Dim:
        """Numbers in its output."""
        return math.prod(self.op.leaving)

    @property
    def biased(self) -> Dim:
        """For a linear layer or convolution: numbers that it adds a bias to."""
        return self.elements_out if self.op.elementwise_flops else 0


def calls(recording: Recording) -> Iterator[Call]:
    """The operations of a recording."""
    ops = [op for op in recording.ops if op.is_kernel]
    first_used = {
        op.name: op.parameters for op in ops if op.parameters
    }  # weights are recorded at their first use only
    parents = {_parent(weight.name) for weight in recording.parameters} | {op.module for op in ops}
    inner = {module for name in parents if name for module in ancestors(_parent(name))}
    for op in ops:
        yield Call(op, tuple(_own(op.module, first_used.get(op.name, ()))), op.module not in inner)


def _own(module: str, weights: tuple[Parameter, ...]) -> Iterator[Parameter]:
    for weight in weights:
        parent, _, name = weight.name.rpartition(".")
        if parent == module and name in {"weight", "bias"}:
            yield weight


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
