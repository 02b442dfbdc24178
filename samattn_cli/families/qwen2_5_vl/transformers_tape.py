"""What transformers has otherwise in Qwen2.5-VL's vision encoder, whose code `tape.py` follows: buffers, and an order on the host.

Source: transformers 5.23.0, models/qwen2_5_vl/modeling_qwen2_5_vl.py: Qwen2_5_VLVisionRotaryEmbedding,
Qwen2_5_VisionTransformerPretrainedModel. Shapes: T tokens of all images, C width, d channels of a head.
"""

from __future__ import annotations

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.rotary import WIDE, angles_of
from ...tape.storage import Dim
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...units import INT64_BYTES
from . import tape as reference


def window_order(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """(T, C) -> the tokens in the order of windows, cosines and sines (T, d) in that order."""
    stage = part.config.stages[0]
    order = tape.on_host(x.shape[0] // reference.UNIT)
    position_ids = tape.buffer(x.shape[0], 2, item_bytes=INT64_BYTES)
    tokens = reference.in_order(tape, "tokens", x, order)
    tape.let_go()
    tables = rotations(tape, position_ids, stage.embed_dim // stage.num_heads)
    cos, sin = (
        reference.in_order(tape, name, table, order)
        for name, table in zip(("cos", "sin"), tables, strict=True)
    )
    tape.free(*tables)
    return tokens, cos, sin


def rotations(
    tape: Tape, position_ids: Tensor, head_dim: Dim, item_bytes: int = WIDE
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles of T tokens, from a buffer of frequencies: (T, d) each. No FLOPs count.

    They are copied to a type of `item_bytes`, if that is not float32.
    """
    tokens, spatial = position_ids.shape[0], head_dim // 2
    with tape.module("rotary_pos_emb"):
        tables = []
        angles, of_axes = angles_of(tape, position_ids, head_dim)
        for name, each in of_axes.items():
            axes = tape.computed(f"{name}_axes", tokens, spatial, item_bytes=WIDE, reads=(each,))
            tables.append(tape.computed(f"{name}_halves", tokens, head_dim, item_bytes=WIDE, reads=(axes,)))
            tape.free(axes, each)
        low = [tape.cast(name, wide, item_bytes) for name, wide in zip(of_axes, tables, strict=True)]
        tape.free(*(wide for wide, each in zip(tables, low, strict=True) if wide is not each), angles)
    cos, sin = low
    return cos, sin


def block(tape: Tape, x: Tensor, cos: Tensor, sin: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """A block, which does not get the order: (T, C) with positions (T, d) -> (T, C)."""
    return reference.block(tape, x, cos, sin, cos, layer, kernel)


def patch_merger(
    tape: Tape, x: Tensor, part: PartConfig, _cos: Tensor, _sin: Tensor
) -> tuple[Tensor, Tensor]:
    """Merges tokens, and restores the order of the image by an index on the host: (T / 4, out_chans), and the tokens."""
    merged = reference.merged(tape, x, part)
    back = tape.on_host(merged.shape[0])
    out = tape.rows("reverse", merged, (back,), *merged.shape)
    tape.free(merged)
    return out, x.made_by(None)


BLOCKS = {"qwen2_5_vl": block}
POS_EMBEDS = {"window_order": window_order}
NECKS = {"patch_merger": patch_merger}
