"""Axial rotary positions of plain blocks on the Tape; the same pass in torch is `axial_stack.py`.

Shapes: B batch, H x W grid, R tokens in front, N = R + HW, C width, h heads, d = C / h.
"""

from __future__ import annotations

from functools import partial

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...tape.rotary import rotate, rotations
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from . import blocks_tape as plain
from . import rotary_tape as dinov3
from .axial import AXIAL, OF_EVA02
from .mlps_tape import normed_swiglu
from .tokens_tape import front_tokens


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """Pre-norm block: (B, N, C) -> (B, N, C)."""
    tape.registers("norm1", "attn", "ls1", "norm2", "mlp", "ls2")
    mlp = normed_swiglu if layer.stage.block in OF_EVA02 else None
    return plain.block(tape, x, layer, kernel, mlp=mlp, attend=partial(attention, layer=layer))


def attention(
    tape: Tape, x: Tensor, stage: StageConfig, kernel: str, *, layer: LayerConfig
) -> tuple[Tensor, ...]:
    """Multi-head self-attention with axial rotary positions: (B, N, C) -> (B, N, C)."""
    positions = rotations(tape, layer.grid, x.shape[-1] // stage.num_heads)
    turn = partial(rotated, in_front=layer.extra_tokens)
    project = PROJECTIONS[stage.block]
    is_normed = stage.block == "eva02_clip"
    out = dinov3.attention(
        tape, x, stage, kernel, positions=positions, project=project, rotate=turn, is_normed=is_normed
    )
    tape.free(*positions)
    return out


def projected(tape: Tape, x: Tensor, stage: StageConfig) -> tuple[Tensor, ...]:
    """With biases of all: (B, N, C) -> queries, keys and values (B, h, N, d)."""
    return dinov3.split(tape.linear("qkv", x, 3 * x.shape[-1], bias=stage.qkv_bias), stage)


def apart(tape: Tape, x: Tensor, stage: StageConfig) -> tuple[Tensor, ...]:
    """By a projection each, of which that of keys has no bias: (B, N, C) -> queries, keys and values (B, h, N, d)."""
    (B, N, C), h = x.shape, stage.num_heads
    made = (tape.linear(f"{name}_proj", x, C, bias=stage.qkv_bias and name != "k") for name in "qkv")
    return tuple(each.view(B, N, h, C // h).permute(0, 2, 1, 3) for each in made)


def rotated(tape: Tape, name: str, x: Tensor, cos: Tensor, sin: Tensor, *, in_front: int) -> Tensor:
    """Queries or keys (B, h, N, d), those of patches rotated."""
    if not in_front:
        return rotate(tape, name, x, cos, sin)
    front, patches = x.slice(2, 0, in_front), x.slice(2, in_front)
    turned = rotate(tape, name, patches, cos, sin)
    out = tape.cat(f"{name}.cat", (front, turned), dim=2)
    tape.free(turned)
    return out


def prefix(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Tokens in front, without positions: (B, H, W, C) -> (B, R + HW, C)."""
    B, H, W, C = x.shape
    return tape.cat("cat", (*front_tokens(tape, part.config, B, C), x.view(B, H * W, C)), dim=1)


PROJECTIONS = {
    "eva": dinov3.projected,
    "eva02": apart,
    "eva02_clip": apart,
    "rope": projected,
    "pe": projected,
}
BLOCKS = dict.fromkeys(AXIAL, block)
POS_EMBEDS = {"prefix": prefix}
