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
from .axial import AXIAL, Angles
from .tokens_tape import front_tokens


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, *, angles: Angles) -> Tensor:
    """Pre-norm block: (B, N, C) -> (B, N, C)."""
    tape.registers("norm1", "attn", "ls1", "norm2", "mlp", "ls2")
    return plain.block(tape, x, layer, kernel, attend=partial(attention, layer=layer, angles=angles))


def attention(
    tape: Tape, x: Tensor, stage: StageConfig, kernel: str, *, layer: LayerConfig, angles: Angles
) -> tuple[Tensor, ...]:
    """Multi-head self-attention with axial rotary positions: (B, N, C) -> (B, N, C)."""
    positions = rotations(tape, layer.grid, x.shape[-1] // stage.num_heads)
    turn = partial(rotated, in_front=layer.extra_tokens)
    project = projected if angles.all_biases else dinov3.projected
    out = dinov3.attention(tape, x, stage, kernel, positions=positions, project=project, rotate=turn)
    tape.free(*positions)
    return out


def projected(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """Queries, keys and values with biases of all: (B, N, C) -> (B, N, 3C)."""
    return tape.linear("qkv", x, 3 * x.shape[-1], bias=stage.qkv_bias)


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


BLOCKS = {word: partial(block, angles=angles) for word, angles in AXIAL.items()}
POS_EMBEDS = {"prefix": prefix}
