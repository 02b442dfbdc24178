"""What the Tape has run of one encoder and keeps for others: parts and blocks that recur, and their backwards."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any

from ..encoder.plan import LayerConfig
from ..encoder.reads import Known
from .segments import Segment
from .symbols.formula import Formula
from .symbols.space import Space
from .tensor import Tensor

MOST_BLOCKS = 64
"""Blocks of other encoders that are kept, with one setting of the Tape."""
Twin = tuple[Hashable, ...]


@lru_cache(maxsize=8)
def blocks_of(*settings: Hashable) -> dict[Twin, Segment]:  # noqa: ARG001 - for the cache
    """The blocks that encoders have run with the same settings of the Tape, by all that their segments depend on."""
    return {}


@lru_cache(maxsize=8)
def parts_of(*settings: Hashable) -> dict[Hashable, Known[Segment]]:  # noqa: ARG001 - for the cache
    """The parts that encoders have run with the same settings of the Tape, by what they are and the tensors that enter."""
    return {}


def space_of(layer: LayerConfig, x: Tensor) -> Space | None:
    """The space of the points that sizes are formulas over; None if all are numbers."""
    sides = (*x.shape, *layer.grid, *(layer.placement.size or ()), *(layer.placement.count or ()))
    return next((side.space for side in sides if isinstance(side, Formula)), None)


@lru_cache(maxsize=8)
def backwards_of(*settings: Hashable) -> dict[Hashable, Any]:  # noqa: ARG001 - for the cache
    """The backwards of those blocks, and the storages that their gradients of weights are views of."""
    return {}


def has_formulas(*tensors: Tensor) -> bool:
    """Whether a size is a formula."""
    return any(isinstance(side, Formula) for tensor in tensors for side in tensor.shape)


def keep_for_others(known: dict[Any, Any], key: Hashable, value: object) -> None:
    """Add to what is kept of earlier encoders, in place of all of it if that is too much."""
    if len(known) >= MOST_BLOCKS:
        known.clear()
    known[key] = value
