"""Which layers of an encoder can be windowed or global, and configs with other placements."""

from __future__ import annotations

from ...encoder.keys import Size
from ...encoder.model import EncoderConfig, StageConfig
from ...encoder.placed import placed
from ...encoder.plan_rules import problems_of_plan
from ...encoder.registry import BLOCKS
from ...errors import Message, UsageError, code_of
from ...records import replace


def movable(config: EncoderConfig) -> tuple[int, ...]:
    """The layers that can be windowed or global: those that have a window.

    A block without a window is always global. A first block that pools is left out if the whole grid cannot be pooled as
    one window.

    Raises:
        UsageError: if there are none.
    """
    having = windowed(config)
    if problem := problem_of(placed(config, having)):
        having = [index for index in having if not problem_of(placed(config, (index,)))]
        if not having:
            raise UsageError(
                Message(
                    code_of(problem), f"no layer of {config.name} can be both windowed and global: {problem}"
                )
            )
    return tuple(having)


def windowed(config: EncoderConfig) -> list[int]:
    """The layers that have a window.

    Raises:
        UsageError: if there are none.
    """
    having = [layer.index for layer in placed(config, ()).layers if layer.is_windowed]
    if not having:
        takes = any(BLOCKS[stage.block].windows for stage in config.stages)
        what = "set a window_size" if takes else "use blocks that take a window_size, such as vit or vitdet"
        raise UsageError(
            "no-windows",
            f"no layer of {config.name} has a window smaller than its grid, so every layer is global; {what}",
        )
    return having


def global_layers(config: EncoderConfig) -> tuple[int, ...]:
    """The layers that attend over their whole grid."""
    return tuple(layer.index for layer in config.layers if layer.is_global)


def shifted(config: EncoderConfig) -> EncoderConfig:
    """The encoder without global layers, every other block's windows shifted by half a window, as Swin's are.

    Source: Swin (arXiv:2103.14030); on a plain backbone "the window grid is shifted by a half-window size for every
    other block" (ViTDet, arXiv:2203.16527, section 4.1).

    Raises:
        UsageError: for blocks that cannot shift windows.
    """
    unnamed = placed(config, ())
    for layer in unnamed.layers:
        if layer.is_windowed and "shift_size" not in BLOCKS[layer.stage.block].keys:
            raise UsageError("shift-not-supported", f"{layer.stage.block} blocks do not support shift_size")
    grids = {layer.stage_index: layer.grid for layer in unnamed.layers}
    stages = (_shifted(stage, grids[number]) for number, stage in enumerate(unnamed.stages))
    return replace(unnamed, stages=tuple(stages))


def _shifted(stage: StageConfig, grid: Size) -> StageConfig:
    if stage.placement.is_global or "shift_size" not in BLOCKS[stage.block].keys:
        return stage
    return replace(stage, shift_size=tuple([side // 2 for side in stage.placement.over(grid).size]))


def problem_of(config: EncoderConfig) -> str:
    """Why an encoder is not valid; "" if it is."""
    return next((message for _, message in problems_of_plan(config)), "")
