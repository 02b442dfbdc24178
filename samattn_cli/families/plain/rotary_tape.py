"""DINOv3's rotary positions on the Tape; the same pass in torch is `rotary_stack.py`.

Shapes: B batch, H x W grid, R tokens in front, N = R + HW, C width, h heads, d = C / h.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...tape.kernels import attention as attention_kernel
from ...tape.rotary import WIDE, turn
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from . import blocks_tape as plain
from .tokens_tape import front_tokens

Projection = Callable[[Tape, Tensor, StageConfig], tuple[Tensor, ...]]
"""(B, N, C) -> queries, keys and values (B, h, N, d)."""
Rotation = Callable[[Tape, str, Tensor, Tensor, Tensor], Tensor]
"""Queries or keys (B, h, N, d), cosines and sines (HW, d) -> those of patches rotated."""


def rotary(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """Tokens in front: (B, H, W, C) -> (B, R + HW, C), cosines and sines (HW, d)."""
    B, H, W, C = x.shape
    stage = part.config.stages[0]
    tokens = tape.cat("cat", (*front_tokens(tape, part.config, B, C), x.view(B, H * W, C)), dim=1)
    angles = tape.computed("angles", H * W, stage.embed_dim // stage.num_heads, item_bytes=WIDE)
    positions = []
    for name in ("cos", "sin"):
        wide = tape.computed(name, *angles.shape, item_bytes=WIDE, reads=(angles,))
        positions.append(tape.cast(f"cast_{name}", wide, tape.item_bytes))
        if positions[-1] is not wide:
            tape.free(wide)
    tape.free(angles)
    return tokens, *positions


def block(tape: Tape, x: Tensor, cos: Tensor, sin: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """Pre-norm block: (B, N, C) with positions (HW, d) -> (B, N, C)."""
    tape.registers("norm1", "attn", "ls1", "norm2", "mlp", "ls2")
    return plain.block(tape, x, layer, kernel, attend=partial(attention, positions=(cos, sin)))


def attention(
    tape: Tape,
    x: Tensor,
    stage: StageConfig,
    kernel: str,
    *,
    positions: tuple[Tensor, Tensor],
    project: Projection | None = None,
    rotate: Rotation | None = None,
    is_normed: bool = False,
) -> tuple[Tensor, ...]:
    """Multi-head self-attention with rotary positions: (B, N, C) -> (B, N, C)."""
    B, N, C = x.shape
    *plain_qk, v = (project or projected)(tape, x, stage)
    turned = rotate or rotated
    q, k = (
        turned(tape, f"rotate_{name}", each, *positions) for name, each in zip("qk", plain_qk, strict=True)
    )
    tape.free(*(each for each in plain_qk if each.storage is not v.storage))
    is_eager = kernel == "eager"
    attended = (
        plain.eager(tape, q, k, v, frees=(q,)) if is_eager else (attention_kernel(tape, "sdpa", q, k, v),)
    )
    values, *kept = attended
    y = tape.reshape("merge_heads", values.permute(0, 2, 1, 3), B, N, C)
    tape.free(values, keep=y)
    if is_normed:
        normed = tape.layer_norm("norm", y)
        tape.free(y)
        y = normed
    out = tape.linear("proj", y, C)
    tape.free(y, *kept, k, v, *([] if is_eager else [q]))
    return (out,)


def projected(tape: Tape, x: Tensor, stage: StageConfig) -> tuple[Tensor, ...]:
    """With biases of queries and values: (B, N, C) -> queries, keys and values (B, h, N, d)."""
    tape.registers("q_bias", "v_bias", "qkv", "proj")
    return split(_packed(tape, x, stage), stage)


def split(qkv: Tensor, stage: StageConfig) -> tuple[Tensor, ...]:
    """Queries, keys and values (B, h, N, d), views of the packed projection."""
    (B, N, packed), h = qkv.shape, stage.num_heads
    # (B, N, 3C) -> (B, N, 3, h, d) -> (3, B, h, N, d)
    return qkv.view(B, N, 3, h, packed // 3 // h).permute(2, 0, 3, 1, 4).unbind()


def _packed(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    C = x.shape[-1]
    if not stage.qkv_bias:
        return tape.linear("qkv", x, 3 * C, bias=False)
    weight = tape.parameter("qkv.weight", 3 * C, C)
    q, v = tape.used_weight("q_bias", C), tape.used_weight("v_bias", C)
    zeros = tape.constant("k_bias", v, C)
    bias = tape.cat("qkv_bias", (q, zeros, v))
    out = tape.linear_with("qkv", x, weight, bias)
    tape.free(bias, zeros)
    return out


def rotated(tape: Tape, name: str, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys (B, h, N, d), those of the last HW tokens rotated."""
    HW = cos.shape[0]
    front, patches = x.split((x.shape[2] - HW, HW), 2)
    summed = turn(tape, name, patches, cos, sin, rotate_half)
    turned = tape.cast(f"{name}.cast", summed, x.item_bytes)
    if turned is not summed:
        tape.free(summed)
    out = tape.cat(f"{name}.cat", (front, turned), dim=2)
    tape.free(turned)
    return out


def rotate_half(tape: Tape, name: str, x: Tensor) -> Tensor:
    """The halves (a, b) of the channels as (-b, a)."""
    half = x.shape[-1] // 2
    a, b = x.split((half, half), len(x.shape) - 1)
    negative = tape.neg(f"{name}.neg", b)
    out = tape.cat(f"{name}.turn", (negative, a))
    tape.free(negative)
    return out


BLOCKS = {"dinov3": block}
POS_EMBEDS = {"rotary": rotary}
