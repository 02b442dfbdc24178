"""An encoder with its global layers elsewhere: which layers can be either, and the config that says so."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import accumulate

from ...config.families import BLOCKS
from ...config.model import EncoderConfig, OverrideConfig, StageConfig
from ...config.rules import problems_of_plan
from ...config.slots import GLOBAL
from ...errors import UsageError


def movable(config: EncoderConfig) -> tuple[int, ...]:
    """The layers that can be windowed or global: those that have a window to attend by.

    A block without a window is global whatever a placement says; a first block that pools is left out where the grid
    cannot be pooled as one window.

    Raises:
        UsageError: if there is none.
    """
    having = [layer.index for layer in placed(config, ()).layers if not layer.is_global]
    if not having:
        stages = tuple(replace(stage, window_size=(1, 1)) for stage in config.stages)
        takes = any(not layer.is_global for layer in placed(replace(config, stages=stages), ()).layers)
        what = "set a window_size" if takes else "use blocks that take a window_size, such as vit or vitdet"
        raise UsageError(
            f"no layer of {config.name} has a window smaller than its grid, so there is nothing to place: {what}"
        )
    if problem_of(placed(config, having)):
        having = [index for index in having if not problem_of(placed(config, (index,)))]
    return tuple(having)


def global_layers(config: EncoderConfig) -> tuple[int, ...]:
    """The layers that attend over their whole grid."""
    return tuple(layer.index for layer in config.layers if layer.is_global)


def placed(config: EncoderConfig, chosen: Collection[int]) -> EncoderConfig:
    """The encoder with the layers `chosen` global and all others windowed, where they have a window.

    Shifts, heads and widths stay as they are.
    """
    ends = accumulate(stage.depth for stage in config.stages)
    return replace(
        config,
        stages=tuple(
            _stage(stage, [index for index in range(end - stage.depth, end) if index in chosen])
            for stage, end in zip(config.stages, ends, strict=True)
        ),
    )


def _stage(stage: StageConfig, chosen: list[int]) -> StageConfig:
    given = (part for override in stage.overrides for part in _parts(override, chosen))
    return replace(stage, global_attn_indexes=tuple(chosen), overrides=tuple(given))


def _parts(override: OverrideConfig, chosen: list[int]) -> Iterator[OverrideConfig]:
    """An override without its window for blocks that are global, and without one that makes blocks global."""
    if override.window_size == GLOBAL:
        override = replace(override, window_size=None)
    windowless = [index for index in override.blocks if index in chosen]
    windowed = [index for index in override.blocks if index not in chosen]
    for blocks, window in ((windowed, override.window_size), (windowless, None)):
        part = replace(override, blocks=tuple(blocks), window_size=window)
        if blocks and part != OverrideConfig(blocks=part.blocks):
            yield part


def shifted(config: EncoderConfig) -> EncoderConfig:
    """The encoder without global layers, every other block's windows shifted by half a window, as Swin's are.

    Source: Swin (arXiv:2103.14030); on a plain backbone "the window grid is shifted by a half-window size for every
    other block" (ViTDet, arXiv:2203.16527, section 4.1).

    Raises:
        UsageError: for blocks that shift no windows.
    """
    windowed = placed(config, ())
    for layer in windowed.layers:
        if not layer.is_global and "shift_size" not in BLOCKS[layer.stage.block].keys:
            raise UsageError(f"blocks of {layer.stage.block} have no shift_size")
    return replace(windowed, stages=tuple(map(_shifted, windowed.stages)))


def _shifted(stage: StageConfig) -> StageConfig:
    if stage.window_size == GLOBAL or "shift_size" not in BLOCKS[stage.block].keys:
        return stage
    height, width = stage.window_size
    return replace(stage, shift_size=(height // 2, width // 2))


def problem_of(config: EncoderConfig) -> str:
    """Why such an encoder cannot be; "" if it can."""
    return next((message for _, message in problems_of_plan(config)), "")
