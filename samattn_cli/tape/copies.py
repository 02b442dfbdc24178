"""Operations that are copied from others, such as those of windows of one size: what each has its own of is its storages.

Most figures do not need the operations of copies. They are sums, or come from memory that each copy takes as the others do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from .immutable import immutable
from .ops import Op, Parameter, Recording
from .storage import Dim, Storage


@dataclass(frozen=True, eq=False)
class Template:
    """Operations of which there are copies that have other storages in place of some.

    Attributes:
        ops: the operations; they are the first to use no weight.
        replaced: the storages that each copy has its own of.
    """

    ops: tuple[Op, ...]
    replaced: tuple[Storage, ...]

    @cached_property
    def totals(self) -> dict[str, Dim]:
        """A cache of the sums of the operations."""
        return {}

    @cached_property
    def keys(self) -> dict[str, tuple[Storage, ...]]:
        """A cache of the storages of the operations."""
        return {}

    def total(self, key: str) -> Dim:
        """The sum of a number of the operations."""
        if key not in self.totals:
            self.totals[key] = sum(getattr(op, key) for op in self.ops)
        return self.totals[key]

    def storages(self, key: str) -> tuple[Storage, ...]:
        """The storages of the operations under a key, in order."""
        if key not in self.keys:
            self.keys[key] = tuple(chain.from_iterable(getattr(op, key) for op in self.ops))
        return self.keys[key]


@immutable(frozen=True, eq=False)
class Copy:
    """The operations of a template with storages of its own, in the order of those that they replace."""

    template: Template
    own: tuple[Storage, ...]

    @property
    def ops(self) -> tuple[Op, ...]:
        """The operations, made anew."""
        new = dict(zip(self.template.replaced, self.own, strict=True))
        return tuple([op.with_storages(new) for op in self.template.ops])

    def storages(self, key: str) -> list[Storage]:
        """The storages of the operations under a key, in order."""
        new = dict(zip(self.template.replaced, self.own, strict=True))
        return [new.get(storage, storage) for storage in self.template.storages(key)]


Piece = tuple[Op, ...] | Copy
"""Operations in order."""


class WithCopies(Recording):
    """A recording with copies, whose operations are made when they are asked for."""

    def __init__(self, pieces: tuple[Piece, ...], **others: Any) -> None:
        empty = vars(Recording((), **others))
        del empty["ops"]
        vars(self).update(empty, pieces=pieces)

    @cached_property
    def ops(self) -> tuple[Op, ...]:
        """The operations in order."""
        return tuple(chain.from_iterable(map(_ops_of, self.pieces)))

    @property
    def plain(self) -> Recording:
        """The same as operations alone."""
        return Recording(self.ops, self.cached, self.buffers, self.unread, self.registered, self.only_first)

    def with_graphs(self) -> Recording:
        """The same, where autograd saves tensors and results hold their graphs."""
        return self.plain.with_graphs() if self.unread else self

    def without_gradients(self) -> Recording:
        """The same, whose weights get no gradient."""
        return self.plain.without_gradients()

    def total(self, key: str) -> Dim:
        """The sum of a number of the operations."""
        return sum(
            piece.template.total(key) if isinstance(piece, Copy) else sum([getattr(op, key) for op in piece])
            for piece in self.pieces
        )

    def storages(self, key: str) -> Iterable[Storage]:
        """The storages of all operations under a key, in order."""
        for piece in self.pieces:
            if isinstance(piece, Copy):
                yield from piece.storages(key)
            else:
                yield from chain.from_iterable([getattr(op, key) for op in piece])

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The weights, in the order of use; copies are the first to use none."""
        ops = chain.from_iterable(piece for piece in self.pieces if not isinstance(piece, Copy))
        return tuple(parameter for op in ops for parameter in op.parameters)


def _ops_of(piece: Piece) -> tuple[Op, ...]:
    return piece.ops if isinstance(piece, Copy) else piece


def among(ops: Sequence[Op], copies: Iterable[tuple[int, Copy]]) -> tuple[Piece, ...]:
    """Operations in pieces, with copies among them, each before the operation with its number."""
    pieces: list[Piece] = []
    at = 0
    for before, copy in copies:
        if before > at:
            pieces.append(tuple(ops[at:before]))
            at = before
        pieces.append(copy)
    return (*pieces, tuple(ops[at:]))
