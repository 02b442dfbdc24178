"""DaViT on the Tape; the same pass in torch, with its sources, is `samattn_cli/families/davit/stack.py`.

Shapes: B batch, H x W grid, T = HW tokens, C width, h heads, d = C / h, M = B * windows, N tokens of a window.
"""

from __future__ import annotations

from functools import partial
from math import prod

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.kernels import attention as attention_kernel
from ...tape.ops import SCORES
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import crop, cut, free_unless_shared, join
from ..swin.tape import mlp
from ..swin.tape import split as heads_of

SQUARE = 2
"""The side of the convolution between DaViT's stages, and its stride."""

Roles = tuple[int, int, int]
"""Which of queries, keys and values (0, 1, 2) channel attention compares with which, and which it then weighs."""

DAVIT: Roles = (1, 2, 0)
"""Keys with values, to weigh queries."""
FLORENCE2: Roles = (0, 1, 2)


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, *, roles: Roles) -> Tensor:
    """A block: (B, H, W, C) -> (B, H, W, C)."""
    return block_of_image(tape, x.permute(0, 3, 1, 2), layer, kernel, roles=roles).view(*x.shape)


def block_of_image(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, *, roles: Roles) -> Tensor:
    """Position, attention, shortcut; position, MLP, shortcut: (B, C, H, W) -> (B, T, C)."""
    shape = x.shape
    x = tokens_of(with_positions(tape, "cpe1", x))
    x, *until_end = attended(tape, x, layer, kernel, roles)
    before, x = x, tokens_of(with_positions(tape, "cpe2", x.transpose(1, 2).view(*shape)))
    tape.free(before)
    normed = tape.layer_norm("norm2", x)
    y = mlp(tape, normed, layer)
    tape.free(normed)
    out = tape.add("add_mlp", x, y)
    tape.free(x, y, *until_end)
    return out


def attended(
    tape: Tape, shortcut: Tensor, layer: LayerConfig, kernel: str, roles: Roles
) -> tuple[Tensor, ...]:
    """The first half of a block: (B, T, C) -> the same, then what it holds until its end."""
    normed = tape.layer_norm("norm1", shortcut)
    if not layer.over_channels:
        y, held = attend(tape, normed, layer, kernel)
        out = tape.add("add_attn", shortcut, y)
        free_unless_shared(tape, y, held)
        return out, *held, shortcut
    with tape.module("attn"):
        y = channel_attention(tape, normed, layer, roles)
    tape.free(normed)
    out = tape.add("add_attn", shortcut, y)
    tape.free(shortcut)
    return out, y


def tokens_of(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, T, C)."""
    B, C, H, W = x.shape
    return x.view(B, C, H * W).transpose(1, 2)


def with_positions(tape: Tape, name: str, x: Tensor) -> Tensor:
    """Adds a depthwise convolution: (B, C, H, W) -> the same."""
    with tape.module(name):
        positions = tape.conv2d("proj", x, x.shape[1], 3, padding=1, groups=x.shape[1])
        out = tape.add("add", x, positions)
    tape.free(positions)
    return out


def attend(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Attention in windows of tokens (B, T, C), which are freed, -> the same, and what the block holds until its end."""
    B, T, C = x.shape
    whole = tape.pad("pad", x.view(B, *layer.grid, C), B, *layer.windows.covered, C)
    tape.free(x)
    windows = cut(tape, whole, layer.windows)
    windows = windows.view(windows.shape[0], prod(layer.windows.size), C)
    with tape.module("attn"):
        attended = window_attention(tape, windows, layer, kernel)
    joined = join(tape, attended, layer.windows)
    free_unless_shared(tape, whole, (windows,))
    y = crop(tape, joined, layer.grid)
    free_unless_shared(tape, joined, (attended, y))
    return y.view(B, T, C), (windows, attended)


def window_attention(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """Multi-head self-attention: (M, N, C) -> (M, N, C)."""
    M, N, C = x.shape
    qkv = tape.linear("qkv", x, 3 * C, bias=layer.stage.qkv_bias)
    q, k, v = heads_of(qkv, layer).unbind()
    values, *kept = eager(tape, q, k, v) if kernel == "eager" else (attention_kernel(tape, "sdpa", q, k, v),)
    y = tape.reshape("merge_heads", values.transpose(1, 2), M, N, C)
    tape.free(values, keep=y)
    out = tape.linear("proj", y, C)
    tape.free(y, *kept, qkv)
    return out


def eager(tape: Tape, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """Attention that makes the score matrix: (M, h, N, d), and what is held until its end."""
    scaled = tape.scale("scale", q)
    scores = tape.scores(scaled, k)  # (M, h, N, N)
    probabilities = tape.softmax("softmax", scores)
    tape.free(scores)
    return tape.matmul("values", probabilities, v), scaled, probabilities


def channel_attention(tape: Tape, x: Tensor, layer: LayerConfig, roles: Roles) -> Tensor:
    """Attention of the channels of a head to each other, by products over all tokens: (B, T, C) -> (B, T, C)."""
    B, T, C = x.shape
    qkv = tape.linear("qkv", x, 3 * C, bias=layer.stage.qkv_bias)
    each = heads_of(qkv, layer).unbind()  # (B, h, T, d), each
    one, other, weighed = (each[role] for role in roles)
    scaled = tape.scale("scale", one)
    scores = tape.matmul(SCORES, scaled.transpose(-1, -2), other, scores=True)  # (B, h, d, d)
    probabilities = tape.softmax("softmax", scores)
    tape.free(scores)
    values = tape.matmul("values", probabilities, weighed.transpose(-1, -2)).transpose(-1, -2)
    y = tape.reshape("merge_heads", values.transpose(1, 2), B, T, C)
    tape.free(values, keep=y)
    out = tape.linear("proj", y, C)
    tape.free(y, scaled, probabilities, qkv)
    return out


def patch_embed(tape: Tape, image: Tensor, part: PartConfig) -> Tensor:
    """Overlapping patches to vectors, and their norm: (B, in_chans, height, width) -> (B, H, W, C)."""
    patch = part.config.patch_size
    patches = tape.conv2d("conv", image, part.leaving.dim, 2 * patch - 1, stride=patch, padding=patch - 1)
    out = tape.layer_norm("norm", patches.permute(0, 2, 3, 1))
    tape.free(patches)
    return out


def conv_embed(tape: Tape, x: Tensor, part: PartConfig, *, kernel: int) -> Tensor:
    """A norm, then a convolution at stride 2: (B, H, W, C) -> (B, H / 2, W / 2, C')."""
    normed = tape.layer_norm("norm", x)
    whole = normed
    if kernel == SQUARE:
        whole = to_whole_squares(tape, normed)
        tape.free(normed)
    out = tape.conv2d(
        "conv", whole.permute(0, 3, 1, 2), part.leaving.dim, kernel, stride=SQUARE, padding=(kernel - 1) // 2
    )
    tape.free(whole)
    return out.permute(0, 2, 3, 1)


def to_whole_squares(tape: Tape, x: Tensor) -> Tensor:
    """A copy of (B, H, W, C) with an even number of rows and columns."""
    B, H, W, C = x.shape
    return tape.pad("pad", x, B, -(-H // SQUARE) * SQUARE, -(-W // SQUARE) * SQUARE, C)


ROLES = {"davit": DAVIT, "florence2": FLORENCE2}
BLOCKS = {word: partial(block, roles=roles) for word, roles in ROLES.items()}
PATCH_EMBEDS = {"overlapping_norm": patch_embed}
TRANSITIONS = {"conv_embed": partial(conv_embed, kernel=3), "conv_embed_2x2": partial(conv_embed, kernel=2)}
