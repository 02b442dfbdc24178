"""Where attention attends, from the shapes of its queries and keys alone.

Fused attention has queries (B, heads, N, d). Otherwise there are scores (..., N, M), whose softmax is taken: the product before it
with as many results is QK^T. What is left of the leading sizes after the heads and the batch is the number of windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ...reports.trace import TracedOp
from ...reports.traced import AttentionReport
from .places import SOFTMAX, Places

FEWEST_DIMS = 3  # of scores: heads, queries, keys
VALUES = "values"
"""The name of the product of the softmax and the values."""


class Product(NamedTuple):
    """An attention: the operations that make the scores and the values, the number of scores, and where it attends."""

    op: int
    values: int | None
    scores: int
    report: AttentionReport


def products_of(ops: Sequence[TracedOp], places: Places, batch: int) -> list[Product]:
    """The attention products among the operations of a forward, in order."""
    return [
        product
        for number, op in enumerate(ops)
        if op.phase == "forward" and (product := _product(number, op, ops, places, batch))
    ]


def _product(
    number: int, op: TracedOp, ops: Sequence[TracedOp], places: Places, batch: int
) -> Product | None:
    if op.attention is not None:
        *leading, queries, _ = op.attention.queries
        shape = (*leading, queries, op.attention.keys[-2])
        return Product(number, None, math.prod(shape), _report(op, shape, places, batch, fused=True))
    if op.name not in SOFTMAX or len(op.entering) < FEWEST_DIMS:
        return None
    made_by = next((n for n in range(number - 1, -1, -1) if _makes(ops[n], op, places)), None)
    if made_by is None:
        return None
    uses = next((n for n in range(number + 1, len(ops)) if _takes(ops[n], op, places)), None)
    report = _report(op, op.entering, places, batch, fused=False)
    return Product(made_by, uses, math.prod(op.entering), report)


def owner_of(softmax: TracedOp, places: Places) -> str:
    """The module whose attention it is: not the softmax itself, if that is a module."""
    return softmax.module.rpartition(".")[0] if places.is_leaf(softmax.module) else softmax.module


def _is_in(module: str, owner: str) -> bool:
    return module == owner or module.startswith(f"{owner}.")


def _makes(product: TracedOp, softmax: TracedOp, places: Places) -> bool:
    """Whether a product makes the scores of a softmax: of the same module, and as many of the same width."""
    same = product.name in {"bmm", "baddbmm"} and _is_in(product.module, owner_of(softmax, places))
    return (
        same
        and math.prod(product.leaving) == math.prod(softmax.entering)
        and product.leaving[-1] == softmax.entering[-1]
    )


def _takes(product: TracedOp, softmax: TracedOp, places: Places) -> bool:
    """Whether a product multiplies the probabilities of a softmax with values."""
    same = product.name in {"bmm", "baddbmm"} and _is_in(product.module, owner_of(softmax, places))
    return same and math.prod(product.entering) == math.prod(softmax.entering)


def _report(
    op: TracedOp, shape: tuple[int, ...], places: Places, batch: int, *, fused: bool
) -> AttentionReport:
    *leading, queries, keys = shape
    heads = _heads(tuple(leading), places.heads_of(op.module), batch)
    windows = max(math.prod(leading) // (heads * batch), 1)
    side = math.isqrt(queries)
    tokens = (
        f"window {side}x{side}" if side * side == queries == keys else f"{windows:,} windows of {queries:,}"
    )
    return AttentionReport(
        name=owner_of(op, places),
        attention="global" if windows == 1 else "window",
        placement="global" if windows == 1 else tokens,
        windows=windows,
        queries=queries,
        keys=keys,
        num_heads=heads,
        fused=fused,
    )


def _heads(leading: tuple[int, ...], said: int, batch: int) -> int:
    """The number of heads: what the module says, if the shape has it; else the second size; else all but the batch.

    Heads may be in one size with the windows. Attention of queries (N, tokens, d) then has a batch of 1 in front.
    """
    all_of_them = math.prod(leading)
    in_one_size = math.prod(leading[:-1]) == 1
    if said and all_of_them % (said * batch) == 0 and (in_one_size or said in leading):
        return said
    if len(leading) > 1:
        return leading[1]
    return max(all_of_them // batch, 1)
