"""What transformers writes differently in Florence-2's vision encoder; the rest is `tape.py`.

Source: transformers 5.23.0, models/florence2/modeling_florence2.py: Florence2VisionConvEmbed, Florence2VisionSpatialBlock,
Florence2VisionWindowAttention, Florence2VisionChannelBlock, Florence2VisionChannelAttention, eager_attention_forward;
integrations/sdpa_attention.py. Its stream is (B, C, H, W), laid out in memory as (B, H, W, C). Shapes: B batch, H x W grid,
T = HW tokens, C width, h heads, d = C / h, M = B * windows, N tokens of a window.
"""

from __future__ import annotations

from math import prod

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.kernels import attention as attention_kernel
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import crop, cut, free_unless_shared, join
from ..swin.tape import mlp
from . import tape as reference
from .tape import tokens_of


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """Position, attention, shortcut; position, MLP, shortcut: (B, C, H, W) -> (B, C, H, W)."""
    residual = tokens_of(with_positions(tape, "cpe1", x))
    normed = tape.layer_norm("norm1", residual)
    attend = channel_attention if layer.over_channels else window_attention
    with tape.module("attn"):
        y = attend(tape, normed, layer, kernel)
    tape.free(normed)
    summed = tape.add("add_attn", residual, y)
    tape.free(y)
    out = tokens_of(with_positions(tape, "cpe2", as_image(summed, x)))
    tape.free(summed, residual)
    normed = tape.layer_norm("norm2", out)
    y = mlp(tape, normed, layer)
    tape.free(normed)
    result = tape.add("add_mlp", out, y)
    tape.free(out, y)
    return as_image(result, x)


def as_image(tokens: Tensor, like: Tensor) -> Tensor:
    """(B, T, C) -> (B, C, H, W)."""
    return tokens.transpose(1, 2).view(*like.shape)


def with_positions(tape: Tape, name: str, x: Tensor) -> Tensor:
    """Adds a depthwise convolution: (B, C, H, W) -> the same."""
    with tape.module(name):
        positions = tape.conv2d("proj", x, x.shape[1], 3, padding=1, groups=x.shape[1])
        out = tape.add("add", positions, x)
    tape.free(positions)
    return out


def window_attention(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """Attention in windows of a padded copy, which lives until windows are joined: (B, T, C) -> (B, T, C)."""
    (B, T, C), h = x.shape, layer.stage.num_heads
    whole = tape.pad("pad", x.view(B, *layer.grid, C), B, *layer.windows.covered, C)
    windows = cut(tape, whole, layer.windows)
    M, N = windows.shape[0], prod(layer.windows.size)
    windows = windows.view(M, N, C)
    qkv = tape.linear("qkv", windows, 3 * C, bias=layer.stage.qkv_bias)
    q, k, v = qkv.view(M, N, 3, h, C // h).permute(2, 0, 3, 1, 4).unbind()
    attended, *kept = attention(tape, q, k, v, kernel)
    free_unless_shared(tape, windows, (whole,))
    projected = tape.linear("proj", attended.view(M, N, C), C)
    tape.free(attended)
    tape.free(whole)
    joined = join(tape, projected, layer.windows)
    out = crop(tape, joined, layer.grid)
    free_unless_shared(tape, joined, (projected, out))
    free_unless_shared(tape, projected, (out,))
    tape.free(*kept, qkv)
    return out.view(B, T, C)


def channel_attention(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """Attention of the channels of a head to each other: (B, T, C) -> (B, T, C)."""
    (B, T, C), h = x.shape, layer.stage.num_heads
    qkv = tape.linear("qkv", x, 3 * C, bias=layer.stage.qkv_bias)
    q, k, v = qkv.view(B, T, 3, h, C // h).permute(2, 0, 3, 4, 1).unbind()  # (B, h, d, T), each
    attended, *kept = attention(tape, q, k, v, kernel)
    y = tape.reshape("merge_heads", attended.permute(0, 3, 2, 1), B, T, C)
    tape.free(attended, keep=y)
    out = tape.linear("proj", y, C)
    tape.free(y, *kept, qkv)
    return out


def attention(tape: Tape, q: Tensor, k: Tensor, v: Tensor, kernel: str) -> tuple[Tensor, ...]:
    """Heads side by side, by a copy: (B, h, N, d) three times -> (B, N, h, d), and eager probabilities, which a name holds."""
    values, *kept = eager(tape, q, k, v) if kernel == "eager" else (attention_kernel(tape, "sdpa", q, k, v),)
    out = tape.contiguous("merge", values.transpose(1, 2))
    tape.free(values, keep=out)
    return out, *kept


def eager(tape: Tape, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """Attention that makes the score matrix, and its probabilities: (B, h, N, d)."""
    products = tape.scores(q, k, call="torch.matmul")
    scores = tape.scale("scale", products)
    tape.free(products)
    probabilities = tape.softmax("softmax", scores)
    tape.free(scores)
    return tape.matmul("values", probabilities, v, call="torch.matmul"), probabilities


def patch_embed(tape: Tape, image: Tensor, part: PartConfig) -> Tensor:
    """Overlapping patches to vectors, and their norm: (B, in_chans, height, width) -> (B, C, H, W)."""
    return reference.patch_embed(tape, image, part).permute(0, 3, 1, 2)


def conv_embed(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """A norm, then a convolution of 3x3 at stride 2: (B, C, H, W) -> (B, C', H / 2, W / 2)."""
    tape.registers("conv", "norm")
    return reference.conv_embed(tape, x.permute(0, 2, 3, 1), part, kernel=3).permute(0, 3, 1, 2)


BLOCKS = {"florence2": block}
PATCH_EMBEDS = {"overlapping_norm": patch_embed}
TRANSITIONS = {"conv_embed": conv_embed}
