"""Which storages hold a matrix of tokens by tokens: scores, what is made of them, their gradients, and masks of their size."""

from __future__ import annotations

from collections.abc import Iterable

from ..encoder.model import Section
from .inside import is_product
from .ops import Op
from .storage import Storage

MASK = 3
"""The place of the mask among the operands of scaled_dot_product_attention."""


def score_storages(programs: Iterable[tuple[Section, tuple[Op, ...]]]) -> frozenset[Storage]:
    """The storages of scores of the sections of a run, whose forwards come before their backwards.

    Scores go through operations that give a result of their size, and end in a product, such as that with the values. The
    backward of that product begins their gradients.
    """
    found: set[Storage] = set()
    readers: dict[str, set[str]] = {}
    for (name, _), ops in programs:
        reading = readers.setdefault(name, set())
        for op in ops:
            _forth(op, found, reading)
        for op in reversed(ops):
            _back(op, found)
    return frozenset(found)


def _forth(op: Op, found: set[Storage], reading: set[str]) -> None:
    """Add the results of an operation that computes scores, or that changes them."""
    read = [storage.nbytes for storage in op.reads if storage in found]
    if op.kind == "sdpa":
        found.update(op.reads[MASK : MASK + 1] if op.scores else ())
    elif op.scores:
        found.update(op.allocates[:1])
    elif not is_product(op):
        found.update(storage for storage in op.allocates if read and 2 * storage.nbytes >= max(read))
    elif not read and op.name.rpartition(".")[0] in reading:
        found.update(op.allocates[:1])
    if read:
        reading.add(op.name)


def _back(op: Op, found: set[Storage]) -> None:
    """Add what a mask is made from, if it is as large."""
    if op.allocates and op.allocates[0] in found and not is_product(op) and op.kind != "sdpa":
        found.update(storage for storage in op.reads if storage.nbytes == op.allocates[0].nbytes)
