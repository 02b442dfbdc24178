"""The same encoder with other global layers, which are set in one way only: by `global_attn_indexes`.

A global layer keeps its window in the config, because some families use it: SAM 3 scales the positions of its global
layers to its windows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from ..records import replace
from .registry import BLOCKS

if TYPE_CHECKING:
    from .model import EncoderConfig, OverrideConfig, StageConfig
    from .plan import LayerConfig


def placed(config: EncoderConfig, chosen: Collection[int]) -> EncoderConfig:
    """The encoder with the layers `chosen` global, and all others windowed if they have a window.

    Shifts, heads and widths do not change. If neither a stage nor the stage before it has a window, its layers are not
    named. A layer that attends over channels stays as it is.
    """
    chosen = frozenset(chosen).difference(layer.index for layer in config.layers_that(_is_over_channels))
    ends = (0, *accumulate(stage.depth for stage in config.stages))
    before: StageConfig | None = None
    stages: list[StageConfig] = []
    for stage, blocks in zip(config.stages, (range(*ends) for ends in pairwise(ends)), strict=True):
        named = [index for index in blocks if index in chosen] if _may_window(stage, before) else []
        stages.append(_stage(stage, named))
        before = stage
    return replace(config, stages=tuple(stages))


def _is_over_channels(layer: LayerConfig) -> bool:
    return layer.over_channels


def _may_window(stage: StageConfig, before: StageConfig | None) -> bool:
    """Whether blocks of a stage may have windows: their own or, in SAM 2's first block, those of the stage before."""
    return BLOCKS[stage.block].windows and any(
        not placement.is_global
        for each in (stage, before)
        if each is not None
        for placement in each.placements
    )


def _stage(stage: StageConfig, named: list[int]) -> StageConfig:
    overrides = (part for override in stage.overrides for part in _parts(override, named))
    return replace(stage, global_attn_indexes=tuple(named), overrides=tuple(overrides))


def _parts(override: OverrideConfig, named: list[int]) -> Iterator[OverrideConfig]:
    """The override split in two: global blocks lose its window, and no block keeps a window that makes it global."""
    placement = override.placement
    for_windowed = override.unplaced if placement is not None and placement.is_global else override
    windowless = [index for index in override.blocks if index in named]
    windowed = [index for index in override.blocks if index not in named]
    for blocks, settings in ((windowed, for_windowed), (windowless, override.unplaced)):
        part = replace(settings, blocks=tuple(blocks))
        if blocks and part != type(override)(blocks=part.blocks):
            yield part
