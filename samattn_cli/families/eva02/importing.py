"""EVA-02 for detection: checkpoints of baaivision/EVA's detectors, which hold the tables of rotary positions too.

Source: baaivision/EVA, EVA-02/det/detectron2/modeling/backbone/vit.py and utils.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...encoder.keys import Pair
from ...importing.checkpoint import Shapes
from ...importing.description import Keys, as_size, ratio_of
from ...importing.weights import CheckpointKind, Weights, renamer, square_side
from ..vitdet import importing as vitdet

OF_ITS_BLOCKS = {"blocks.0.attn.q_proj.weight", "blocks.0.mlp.w1.weight", "blocks.0.mlp.ffn_ln.weight"}
TABLES = r"(?:rope_win|rope_glb|blocks\.\d+\.attn\.rope)\.freqs_(?:cos|sin)"
OF_BLOCK = re.compile(r"blocks\.(\d+)\.attn\.rope\.freqs_cos$")


def is_eva02(shapes: Shapes) -> bool:
    """Whether it has the blocks of EVA-02's detectors, with positions of a pretraining."""
    name_of = names(shapes)
    return {*OF_ITS_BLOCKS, "pos_embed.pos_embed"} <= {name_of(name) for name in shapes}


def names(shapes: Shapes) -> Callable[[str], str | None]:
    """As ViTDet's; the tables of rotary positions are not weights of ours."""
    is_detector = any(name.startswith(vitdet.BACKBONE) for name in shapes)
    prefix = vitdet.BACKBONE if is_detector else ""
    tables = renamer((rf"{prefix}(?:{vitdet.ENCODER})?{TABLES}", None))
    name_of = vitdet.names(shapes)
    return lambda name: tables(name) and name_of(name)


def from_weights(weights: Weights) -> Keys:
    """The tables of rotary positions, (side * side, head width), show image, windows and heads."""
    width, in_chans, *_ = weights.shape("patch_embed.proj.weight", 4)
    depth = weights.count_at_least_one("blocks.{}.attn.q_proj.weight")
    hidden, _ = weights.shape("blocks.0.mlp.w1.weight", 2)
    patch = weights.square("patch_embed.proj.weight")
    (grid, window, head), sides = _tables(weights, depth)
    return {
        "image_size": as_size([side * patch for side in grid]),
        "in_chans": in_chans,
        "patch_size": patch,
        "block": "eva02_vit",
        "embed_dim": width,
        "depth": depth,
        "num_heads": width // head,
        "mlp_ratio": ratio_of(hidden, width),
        "qkv_bias": "blocks.0.attn.q_bias" in weights,
        **vitdet.pretrained(weights, patch),
        "window_size": as_size(window),
        "global_attn_indexes": [index for index, side in enumerate(sides) if side == grid],
        **vitdet.neck(weights),
    }


def _tables(weights: Weights, depth: int) -> tuple[tuple[Pair, Pair, int], list[Pair]]:
    """The grid, the window, the width of a head; the side of each block's table.

    Raises:
        ImportFailedError: if there are no tables, or not those of one window and one square image.
    """
    tables = {match[1]: shape for name, shape in weights.others.items() if (match := OF_BLOCK.search(name))}
    found = [tables.get(str(index), ()) for index in range(depth)]
    if not all(len(shape) == len(("tokens", "channels")) for shape in found):
        raise weights.error(
            "not-in-shapes",
            "has no tables of rotary positions (blocks.0.attn.rope.freqs_cos), which show image size and windows: write the "
            "config by hand (`samattn configs --show eva02_b_det`)",
        )
    sides: list[Pair] = [(square_side(rows) or 0,) * 2 for rows, _ in found]
    window, grid = min(sides), max(sides)
    if not min(window) or len(set(sides)) != len((window, grid)):
        raise weights.error(
            "unsupported-model", "its rotary tables are not those of one window and one square image"
        )
    weights.notes.append("The image size is read from the rotary tables of global blocks.")
    return (grid, window, found[0][1]), sides


CHECKPOINTS = (CheckpointKind(is_eva02, names, from_weights),)
