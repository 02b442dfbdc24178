"""Qwen2.5-VL's vision encoder on the Tape; the same pass in torch, and its sources, are in `samattn_cli/families/qwen2_5_vl/stack.py`.

Shapes: T tokens of all images, C width, h heads, d = C / h, n tokens of a window.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...tape.alike import for_each
from ...tape.kernels import attention as attention_kernel
from ...tape.norms import rms_norm
from ...tape.rotary import WIDE, turn
from ...tape.storage import Dim, Shape
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import free_unless_shared
from .words import FRAMES, MERGE

Attend = Callable[[Tape, Tensor, Tensor, Tensor], Tensor]
"""Attention over a window."""

UNIT = MERGE**2
"""Tokens that stay together in every order."""


def block(
    tape: Tape,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    _order: Tensor,
    layer: LayerConfig,
    kernel: str = "eager",
) -> Tensor:
    """Pre-norm block with rotary positions (T, d) each: (T, C) -> (T, C)."""

    def attend(normed: Tensor) -> Tensor:
        return attention(tape, normed, (cos, sin), layer, kernel)

    return pre_norm(tape, x, layer.stage, attend, rms_norm, gated_mlp)


def pre_norm(
    tape: Tape,
    x: Tensor,
    stage: StageConfig,
    attend: Callable[[Tensor], Tensor],
    norm: Callable[[Tape, str, Tensor], Tensor],
    mlp: Callable[[Tape, Tensor, StageConfig], Tensor],
) -> Tensor:
    """Attention, then an MLP, each after a norm and with its shortcut: (T, C) -> (T, C)."""
    tape.registers("norm1", "norm2", "attn", "mlp")
    normed = norm(tape, "norm1", x)
    with tape.module("attn"):
        attended = attend(normed)
    tape.free(normed)
    joined = tape.add("add_attn", x, attended)
    tape.free(attended)
    normed = norm(tape, "norm2", joined)
    with tape.module("mlp"):
        y = mlp(tape, normed, stage)
    tape.free(normed)
    out = tape.add("add_mlp", joined, y)
    tape.free(joined, y)
    return out


def attention(
    tape: Tape, x: Tensor, positions: tuple[Tensor, Tensor], layer: LayerConfig, kernel: str
) -> Tensor:
    """Multi-head self-attention, one window after the other: (T, C) -> (T, C)."""
    qkv, (q, k, v) = projected(tape, x, layer.stage)
    q, k = turned(tape, (q, k), *positions)
    lengths = lengths_of(layer) * (x.shape[0] // prod(layer.grid))
    heads = tuple(each.transpose(0, 1).unsqueeze(0) for each in (q, k, v))
    out = one_by_one(tape, heads, lengths, kernel, layer.stage, x.shape)
    tape.free(q, k, qkv)
    return out


def one_by_one(
    tape: Tape,
    heads: tuple[Tensor, ...],
    lengths: tuple[int, ...],
    kernel: str,
    stage: StageConfig,
    shape: Shape,
) -> Tensor:
    """Attention of windows of so many tokens, one after the other, then the projection: (1, h, T, d) each -> (T, C) as `shape`."""
    attend = sdpa if kernel == "sdpa" else eager
    chunks = (each.split(lengths, 2) for each in heads)
    windows = zip(*chunks, strict=True)
    outputs = for_each(tape, lambda *chunk: of_window(tape, chunk, attend, stage), windows)
    joined = tape.cat("join_windows", outputs, 1)  # (1, T, h, d)
    out = tape.linear("proj", joined.view(*shape), shape[-1])
    tape.free(joined, *outputs)
    return out


def projected(tape: Tape, x: Tensor, stage: StageConfig) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The projection of tokens (T, C), and its views: queries (T, h, d), keys and values (T, k, d)."""
    (T, C), heads, kv_heads = x.shape, stage.num_heads, stage.kv_heads
    d = C // heads
    qkv = tape.linear("qkv", x, (heads + 2 * kv_heads) * d, bias=stage.qkv_bias)
    if kv_heads == heads:
        return qkv, qkv.view(T, 3, heads, d).permute(1, 0, 2, 3).unbind()
    each = qkv.split([heads * d, kv_heads * d, kv_heads * d], -1)
    return qkv, tuple(
        part.view(T, many, d) for part, many in zip(each, (heads, kv_heads, kv_heads), strict=True)
    )


def of_window(tape: Tape, chunk: tuple[Tensor, ...], attend: Attend, stage: StageConfig) -> Tensor:
    """A window's attention, with keys and values (1, k, n, d) repeated for each group: (1, n, h, d)."""
    q, k, v = chunk
    heads, kv_heads = stage.num_heads, stage.kv_heads
    if kv_heads == heads:
        return attend(tape, q, k, v)
    n, d = q.shape[2:]
    many = (1, kv_heads, heads // kv_heads, n, d)
    k, v = (
        tape.reshape(name, x.unsqueeze(2).expand_to(*many), 1, heads, n, d)
        for name, x in (("repeat_k", k), ("repeat_v", v))
    )
    out = attend(tape, q, k, v)
    for repeated in (k, v):
        free_unless_shared(tape, repeated, chunk)  # a single head is repeated without a copy
    return out


def lengths_of(layer: LayerConfig) -> tuple[int, ...]:
    """Tokens of each window of an image, from left to right and top to bottom."""
    heights, widths = ((side,) * often + (rest,) * bool(rest) for side, often, rest in layer.windows)
    return tuple(height * width for height in heights for width in widths)


def eager(tape: Tape, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention that makes the score matrix, softmax in float32: (1, h, n, d), each -> (1, n, h, d)."""
    products = tape.scores(q, k, call="torch.matmul")  # (1, h, n, n)
    scores = tape.scale("scale", products)
    tape.free(products)
    wide = tape.softmax("softmax", scores, in_float32=True)
    probabilities = tape.cast("cast", wide, q.item_bytes)
    tape.free(scores)
    tape.free(wide, keep=probabilities)
    values = tape.matmul("values", probabilities, v, call="torch.matmul")
    out = tape.contiguous("merge_heads", values.transpose(1, 2))
    tape.free(values, keep=out)
    tape.free(probabilities)
    return out


def sdpa(tape: Tape, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Torch's scaled_dot_product_attention: (1, h, n, d), each -> (1, n, h, d)."""
    out = attention_kernel(tape, "sdpa", q, k, v)
    return tape.contiguous("merge_heads", out.transpose(1, 2))


def turned(tape: Tape, both: tuple[Tensor, Tensor], cos: Tensor, sin: Tensor) -> tuple[Tensor, ...]:
    """Queries and keys (T, h, d) rotated by their positions (T, d) in float32; the results have their type."""
    named = tuple(zip(("rotate_q", "rotate_k"), both, strict=True))
    wide = [tape.cast(f"{name}.float", x, WIDE) for name, x in named]
    wide_cos, wide_sin = tape.cast("cos.float", cos, WIDE), tape.cast("sin.float", sin, WIDE)
    angles = wide_cos.unsqueeze(1), wide_sin.unsqueeze(1)
    summed = [turn(tape, name, x, *angles, _half_turn) for (name, _), x in zip(named, wide, strict=True)]
    low = []
    for (name, x), each in zip(named, summed, strict=True):
        low.append(tape.cast(f"{name}.cast", each, x.item_bytes))
        tape.free(each, keep=low[-1])
    narrow = (*both, cos, sin)
    tape.free(*(each for each, x in zip((*wide, wide_cos, wide_sin), narrow, strict=True) if each is not x))
    return tuple(low)


def _half_turn(tape: Tape, name: str, x: Tensor) -> Tensor:
    """The halves (a, b) of the channels as (-b, a)."""
    last, half = len(x.shape) - 1, x.shape[-1] // 2
    a, b = x.slice(last, 0, half), x.slice(last, half)
    negative = tape.neg(f"{name}.neg", b)
    out = tape.cat(f"{name}.cat", (negative, a))
    tape.free(negative)
    return out


def gated_mlp(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """down(SiLU(gate) * up): (T, C) -> (T, C)."""
    gate = tape.linear("gate_proj", x, stage.mlp_dim)
    active = tape.silu("act_fn", gate)
    tape.free(gate)
    up = tape.linear("up_proj", x, stage.mlp_dim)
    product = tape.mul("gate", active, up)
    tape.free(active, up)
    out = tape.linear("down_proj", product, x.shape[-1])
    tape.free(product)
    return out


def patch_embed(tape: Tape, patches: Tensor, part: PartConfig) -> Tensor:
    """Flattened patches of two frames to vectors: (T, in_chans * 2 * p * p) -> (T, C)."""
    (T, _), patch, dim = patches.shape, part.config.patch_size, part.leaving.dim
    kernel = (FRAMES, patch, patch)
    volumes = patches.view(T, part.config.in_chans, *kernel)
    return tape.conv3d("proj", volumes, dim, kernel, bias=False).view(T, dim)


def window_order(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """(T, C) -> the tokens in the order of windows, cosines and sines (T, d) in that order, and the order (T / 4)."""
    stage = part.config.stages[0]
    order = tape.integers("window_index", x.shape[0] // UNIT)
    tokens = in_order(tape, "tokens", x, order)
    tables = rotations(tape, x.shape[0], stage.embed_dim // stage.num_heads)
    cos, sin = (
        in_order(tape, name, table, order) for name, table in zip(("cos", "sin"), tables, strict=True)
    )
    tape.free(*tables)
    return tokens, cos, sin, order


def in_order(tape: Tape, name: str, x: Tensor, order: Tensor) -> Tensor:
    """Tokens (T, ...), by squares, in an order (T / 4)."""
    T, width = x.shape
    units = T // UNIT, UNIT, width
    return tape.rows(f"{name}_in_order", x.view(*units), (order,), *units).view(T, width)


def rotations(tape: Tape, tokens: Dim, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles of T tokens: (T, d) each. They do not depend on the image: no FLOPs count."""
    positions = tape.integers("position_ids", tokens, 2)
    tables = rotations_of(tape, positions, head_dim)
    tape.free(positions)
    return tables


def rotations_of(tape: Tape, positions: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """The same for positions (T, 2)."""
    tokens, quarter = positions.shape[0], head_dim // 4
    wide = tape.computed("positions", tokens, 2, 1, item_bytes=WIDE, reads=(positions,))
    frequencies = tape.computed("inv_freq", quarter, item_bytes=WIDE)
    angles = tape.computed("angles", tokens, 2, quarter, item_bytes=WIDE, reads=(wide, frequencies))
    tape.free(wide, frequencies)
    cos, sin = (_spread(tape, name, angles) for name in ("cos", "sin"))
    tape.free(angles)
    return cos, sin


def _spread(tape: Tape, name: str, angles: Tensor) -> Tensor:
    """Cosines or sines for rows and columns (T, 2, d / 4), repeated for both halves of a head: (T, d)."""
    tokens, axes, quarter = angles.shape
    of_axes = tape.computed(name, *angles.shape, item_bytes=WIDE, reads=(angles,))
    side_by_side = tape.computed(f"{name}_axes", tokens, axes * quarter, item_bytes=WIDE, reads=(of_axes,))
    out = tape.computed(f"{name}_halves", tokens, 2 * axes * quarter, item_bytes=WIDE, reads=(side_by_side,))
    tape.free(of_axes, side_by_side)
    return out


def patch_merger(
    tape: Tape, x: Tensor, part: PartConfig, _cos: Tensor, _sin: Tensor, order: Tensor
) -> Tensor:
    """Merges squares of 2x2 tokens, then restores the order of the image: (T, C) -> (T / 4, out_chans)."""
    back = tape.argsort("argsort", order)
    together = merged(tape, x, part)
    out = tape.rows("reverse", together, (back,), *together.shape)
    tape.free(together, back)
    return out


def merged(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Squares of tokens, normed and merged: (T, C) -> (T / 4, out_chans)."""
    T, C = x.shape
    normed = rms_norm(tape, "ln_q", x)
    with tape.module("mlp"):
        hidden = tape.linear("0", normed.view(T // UNIT, UNIT * C), UNIT * C)
        active = tape.gelu("1", hidden)
        tape.free(hidden)
        out = tape.linear("2", active, part.config.out_chans)
        tape.free(active)
    tape.free(normed)
    return out


BLOCKS = {"qwen2_5_vl": block}
PATCH_EMBEDS = {"qwen2_5_vl": patch_embed}
POS_EMBEDS = {"window_order": window_order}
NECKS = {"patch_merger": patch_merger}
