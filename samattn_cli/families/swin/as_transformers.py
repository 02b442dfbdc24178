"""Where transformers' Swin and Swin V2 run otherwise than Microsoft's code, which samattn's blocks follow.

Both make each block's window smaller where the grid is smaller than it. Sources: transformers 5.23.0,
models/swin/modeling_swin.py, `SwinLayer.set_shift_and_window_size`; models/swinv2/modeling_swinv2.py,
`Swinv2Layer._compute_window_shift`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from ...encoder.keys import Pair
from ...encoder.model import EncoderConfig
from ...encoder.placement import Placement
from ...encoder.plan import LayerConfig
from ...encoder.registry import NONE
from ...importing.agreement import weights_of
from ...importing.checkpoint import Shapes
from ...units import format_size, ranges

TABLE = "attn.relative_position_bias_table"


def unrunnable(config: EncoderConfig) -> Iterator[str]:
    """Swin: transformers makes the tables of biases for the window of the config, which a smaller window does not fit."""
    yield from _otherwise_made(config)
    config = _padded(config)
    ours, full = weights_of(config), {f"{layer.name}.{TABLE}": _full_table(layer) for layer in config.layers}
    small = [
        layer for layer in config.layers if ours[f"{layer.name}.{TABLE}"] != full[f"{layer.name}.{TABLE}"]
    ]
    if small and _is_square(config):
        grid, window = (format_size(pair) for pair in (small[0].grid, small[0].stage.window_size))
        yield (
            f"transformers cannot run it at {format_size(config.image_size)}: the grid of stages."
            f"{small[0].stage_index} is {grid}, smaller than its window of {window}. samattn makes the window "
            f"smaller, as Microsoft's code does, and so has {_params(ours):,} parameters where transformers has "
            f"{_params(ours | full):,}."
        )


def otherwise_windowed(config: EncoderConfig) -> Iterator[str]:
    """Swin V2: transformers has squares, as high as the grid is if no row is padded on the way to it."""
    yield from _otherwise_made(config)
    if config.pos_embed != NONE:
        yield "transformers cannot run Swin V2 with absolute embeddings: it makes one more of them than there are patches."
    if not config.grid[0] >> (len(config.stages) - 1):
        yield (
            f"transformers cannot make it for {format_size(config.image_size)}: halved and rounded down from stage to stage, "
            f"{config.grid[0]} rows of patches are none in the last."
        )
        return
    rows, config = config.grid[0], _padded(config)
    others = [layer for layer in config.layers if _placed(layer) != _placed_there(config, layer, rows)]
    if others and _is_square(config):
        ours, theirs = _placed(others[0]).words, _placed_there(config, others[0], rows).words
        yield (
            f"At {format_size(config.image_size)} transformers runs other windows in the blocks "
            f"{ranges([layer.index for layer in others])}: {theirs} in the first of them, where Microsoft's code and "
            f"samattn have {ours}. FLOPs and memory are those of Microsoft's code."
        )


def _is_square(config: EncoderConfig) -> bool:
    height, width = config.stages[0].window_size
    return height == width > 0


def _otherwise_made(config: EncoderConfig) -> Iterator[str]:
    """What both have: windows that are squares, and patches that cover the whole image."""
    if not _is_square(config):
        window = format_size(config.stages[0].window_size)
        yield f"transformers cannot run windows of {window}: it takes one number, 1 or more."
    if any(config.dropped):
        image, whole = format_size(config.image_size), format_size(_padded(config).image_size)
        said = f"transformers pads images of {image} to {whole}, whole patches, where samattn drops the rest"
        cure = "it cannot run, for its absolute embeddings are of fewer patches"
        yield f"{said}: {f'image_size {whole} has its figures' if config.pos_embed == NONE else cure}."


def _padded(config: EncoderConfig) -> EncoderConfig:
    """Of an image with the sides that transformers pads it to."""
    patch = config.patch_size
    height, width = (-(-side // patch) * patch for side in config.image_size)
    return replace(config, image_size=(height, width))


def _full_table(layer: LayerConfig) -> Pair:
    height, width = layer.stage.window_size
    return (2 * height - 1) * (2 * width - 1), layer.stage.num_heads


def _params(weights: Shapes) -> int:
    return sum(map(prod, weights.values()))


def _placed(layer: LayerConfig) -> Placement:
    """Where a layer attends, a global one as one window."""
    return Placement(layer.windows.size, shift=layer.shift_size)


def _placed_there(config: EncoderConfig, layer: LayerConfig, rows: int) -> Placement:
    """Window and shift, for which transformers takes the height alone: that of `rows` of whole patches."""
    high, wanted = rows >> layer.stage_index, layer.stage.window_size[0]
    first = sum(stage.depth for stage in config.stages[: layer.stage_index])
    side = min(high, wanted)
    shift = 0 if high <= side or (layer.index - first) % 2 == 0 else wanted // 2
    return Placement((side, side), shift=(shift, shift))
