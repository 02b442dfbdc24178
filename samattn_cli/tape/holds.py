"""What the names of a Python function hold until it returns, where implementations of one forward differ in that."""

from __future__ import annotations

from collections.abc import Mapping

from .tape import Tape
from .tensor import Tensor


class Holds:
    """Frees the tensors of a block, or holds them for one of its functions. Each block has an object of its own.

    Attributes:
        holds: a name that a family gives to a tensor, and the function that holds it: "attention" or "block".
    """

    holds: Mapping[str, str] = {}

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._held: dict[str, list[Tensor]] = {}

    def drop(self, name: str, x: Tensor, *, keep: Tensor | None = None) -> None:
        """A function is done with `x`: it is freed, unless a name holds it or `keep` shares its memory."""
        if keep is not None and keep.storage is x.storage:
            return
        if name in self.holds:
            self._held.setdefault(self.holds[name], []).append(x)
        else:
            self.tape.free(x)

    def held(self, function: str) -> tuple[Tensor, ...]:
        """What the names of a function hold as it returns."""
        return tuple(self._held.pop(function, ()))
