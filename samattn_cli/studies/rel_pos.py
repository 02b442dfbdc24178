"""A layer's tables of relative positions, compared with the joint table that it could have instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..records import replace
from ..tape.ops import Parameter, parameter_elements
from ..tape.shares import REL_POS, share_of
from .layers import At
from .passes import Passes


def _tables(at: At) -> tuple[Parameter, ...]:
    """A layer's relative positions: (2h-1, d) and (2w-1, d), or a joint (2h-1, 2w-1, d); () without."""
    if at.layer.stage.rel_pos == "none":
        return ()
    return tuple(
        parameter for op in at.segment.recording.ops if share_of(op) == REL_POS for parameter in op.parameters
    )


def _per_channel(at: At) -> int | None:
    """Entries of a layer's tables per channel of a head; None without tables."""
    return sum(parameter_elements(table) // table.shape[-1] for table in _tables(at)) or None


def _saved_by_decomposing(at: At) -> float | None:
    """How much smaller the tables are than the joint table of the same layer, as a share."""
    own, joint = _per_channel(at), _per_channel(At(_joint(at.passes), at.number))
    return None if own is None or joint is None else 1 - own / joint


def _joint(passes: Passes) -> Passes:
    """The passes of the same encoder with joint relative positions."""
    stages = tuple(
        stage if stage.rel_pos == "none" else replace(stage, rel_pos="joint")
        for stage in passes.config.stages
    )
    return Passes(replace(passes.config, stages=stages))


POSITIONS: dict[str, Callable[[At], Any]] = {
    "rel_pos_params": lambda at: sum(map(parameter_elements, _tables(at))) or None,
    "rel_pos_params_per_channel": _per_channel,
    "rel_pos_params_saving": _saved_by_decomposing,
}
"""Readers of a layer's relative positions; None without them."""
