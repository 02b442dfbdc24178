"""Where transformers' Swin and Swin V2 differ from Microsoft's code, which samattn's blocks follow.

Both shrink a block's window to a smaller grid, but in different ways. Sources: transformers 5.23.0,
models/swin/modeling_swin.py, `SwinLayer.set_shift_and_window_size`; models/swinv2/modeling_swinv2.py,
`Swinv2Layer._compute_window_shift`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ...encoder.keys import Pair
from ...encoder.model import EncoderConfig
from ...encoder.placement import Placement
from ...encoder.plan import LayerConfig
from ...encoder.registry import NONE
from ...errors import Message
from ...importing.checkpoint import Shapes
from ...records import replace
from ...tape.other_sizes import weight_shapes
from ...units import format_size, ranges

TABLE = "attn.relative_position_bias_table"


def swin_differences(config: EncoderConfig) -> Iterator[str]:
    """Swin: transformers makes the tables of biases for the window in the config, even if the window is smaller."""
    yield from _common_differences(config)
    config = _padded(config)
    ours, full = (
        weight_shapes(config),
        {f"{layer.name}.{TABLE}": _full_table(layer) for layer in config.layers},
    )
    small = [
        layer for layer in config.layers if ours[f"{layer.name}.{TABLE}"] != full[f"{layer.name}.{TABLE}"]
    ]
    if small and _is_square(config):
        grid, window = (format_size(pair) for pair in (small[0].grid, small[0].stage.window_size))
        yield Message(
            "transformers-cannot-run",
            f"transformers cannot run this at {format_size(config.image_size)}: the grid of stages."
            f"{small[0].stage_index} is {grid}, smaller than its window of {window}. samattn shrinks the window, as "
            f"Microsoft's code does, and so has {_params(ours):,} parameters; transformers has {_params(ours | full):,}.",
        )


def swinv2_differences(config: EncoderConfig) -> Iterator[str]:
    """Swin V2: transformers shrinks a window to a square, by the height of a grid whose rows are never padded."""
    yield from _common_differences(config)
    if config.pos_embed != NONE:
        yield Message(
            "transformers-cannot-run",
            "transformers cannot run Swin V2 with absolute position embeddings: it creates one more than there are patches.",
        )
    if not config.grid[0] >> (len(config.stages) - 1):
        yield Message(
            "transformers-cannot-run",
            f"transformers cannot build this encoder for {format_size(config.image_size)}: it halves the rows of patches at each stage "
            f"and rounds down, so that {config.grid[0]} rows become 0 in the last stage.",
        )
        return
    rows, config = config.grid[0], _padded(config)
    others = [layer for layer in config.layers if _ours(layer) != _theirs(config, layer, rows)]
    if others and _is_square(config):
        ours, theirs = _ours(others[0]).words, _theirs(config, others[0], rows).words
        yield Message(
            "transformers-differs",
            f"At {format_size(config.image_size)} transformers uses other windows in blocks "
            f"{ranges([layer.index for layer in others])}: in the first of them, {theirs} instead of {ours}. "
            "samattn follows Microsoft's code; so do its FLOPs and memory.",
        )


def _is_square(config: EncoderConfig) -> bool:
    height, width = config.stages[0].window_size
    return height == width > 0


def _common_differences(config: EncoderConfig) -> Iterator[str]:
    """Differences of both: windows must be squares, and images are padded to whole patches."""
    if not _is_square(config):
        window = format_size(config.stages[0].window_size)
        yield Message(
            "transformers-cannot-run",
            f"transformers cannot run windows of {window}: its window is one number, 1 or more.",
        )
    if any(config.dropped):
        image, padded = format_size(config.image_size), format_size(_padded(config).image_size)
        has_embeddings = config.pos_embed != NONE
        consequence = (
            "It then cannot run, because it has absolute embeddings for fewer patches."
            if has_embeddings
            else f"Use image_size {padded} for its figures."
        )
        yield Message(
            "transformers-cannot-run" if has_embeddings else "transformers-differs",
            f"transformers pads images of {image} to {padded}, a whole number of patches; samattn drops the remaining "
            f"pixels. {consequence}",
        )


def _padded(config: EncoderConfig) -> EncoderConfig:
    """The config for an image that is padded as transformers does it."""
    patch = config.patch_size
    height, width = (-(-side // patch) * patch for side in config.image_size)
    return replace(config, image_size=(height, width))


def _full_table(layer: LayerConfig) -> Pair:
    height, width = layer.stage.window_size
    return (2 * height - 1) * (2 * width - 1), layer.stage.num_heads


def _params(weights: Shapes) -> int:
    return sum(map(prod, weights.values()))


def _ours(layer: LayerConfig) -> Placement:
    """Window and shift of a layer; a global layer has one window."""
    return Placement(layer.windows.size, shift=layer.shift_size)


def _theirs(config: EncoderConfig, layer: LayerConfig, rows: int) -> Placement:
    """Window and shift in transformers, which looks at the height only: `rows` of whole patches in the first stage."""
    height, window = rows >> layer.stage_index, layer.stage.window_size[0]
    first = sum(stage.depth for stage in config.stages[: layer.stage_index])
    side = min(height, window)
    shift = 0 if height <= side or (layer.index - first) % 2 == 0 else window // 2
    return Placement((side, side), shift=(shift, shift))
