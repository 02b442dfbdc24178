"""Hiera on the Tape; the same pass in torch is `samattn_cli/families/mask_units/stack.py`.

Shapes: B batch, N tokens, C and D width before and after a block, h heads, d = D / h, W mask units (1 for all tokens),
T = N / W, s = q_stride ** 2.
"""

from __future__ import annotations

from math import prod

from ...encoder.model import EncoderConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...tape.holds import Holds
from ...tape.kernels import attention as attention_kernel
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ..plain.blocks_tape import layer_scale
from ..plain.mlps_tape import mlp
from .shape import levels, stride


class Code(Holds):
    """The steps of the block that implementations write differently, as Hiera's own code writes them."""

    holds = {"norm1": "block"}  # noqa: RUF012 - never changed

    def maxima(self, name: str, x: Tensor, dim: int) -> Tensor:
        """``x.max(dim).values``."""
        return self.tape.max_along(name, x, dim)

    def parts(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of (3, B, h, W, T, d): ``qkv[0]`` and so on."""
        return tuple(qkv.select(0) for _ in "qkv")

    def attend(self, q: Tensor, k: Tensor, v: Tensor, kernel: str) -> tuple[Tensor, ...]:
        """(B, h, W, t, d), and what is held until attention returns."""
        if kernel == "eager":
            return self.eager(q, k, v)
        return (attention_kernel(self.tape, "sdpa", q, k, v),)

    def eager(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """Attention that makes the score matrix, and its probabilities."""
        tape = self.tape
        scaled = tape.scale("scale", q)
        scores = tape.scores(scaled, k)  # (B, h, W, t, T)
        tape.free(scaled)
        probabilities = tape.softmax("softmax", scores)
        tape.free(scores)
        return tape.matmul("values", probabilities, v), probabilities


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, *, code: type[Code] = Code) -> Tensor:
    """Pre-norm block: (B, N, C) -> (B, N / s, D); `code` is that of an implementation."""
    steps, shortcut, D = code(tape), x, layer.stage.embed_dim
    tape.registers("norm1", "attn", "ls1", "norm2", "mlp", "ls2", "proj")
    normed = tape.layer_norm("norm1", x)
    if layer.in_dim != D:
        projected = tape.linear("proj", normed, D)
        B, N, s = x.shape[0], x.shape[1], layer.q_stride**2
        shortcut = steps.maxima("pool", projected.view(B, s, N // s, D), 1)
        tape.free(projected)
    with tape.module("attn"):
        attended = attention(tape, normed, layer, kernel, steps)
    steps.drop("norm1", normed)
    attended = layer_scale(tape, "ls1", attended, layer.stage)
    middle = tape.add("add_attn", shortcut, attended)
    steps.drop("attended", attended)
    tape.free(*(() if shortcut is x else (shortcut,)))
    second = tape.layer_norm("norm2", middle)
    with tape.module("mlp"):
        y = mlp(tape, second, layer.stage, Tape.gelu)
    tape.free(second)
    y = layer_scale(tape, "ls2", y, layer.stage)
    out = tape.add("add_mlp", middle, y)
    tape.free(middle, y, *steps.held("block"))
    return out


def attention(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, steps: Code) -> Tensor:
    """Attention in mask units, of queries that may be pooled: (B, N, C) -> (B, N / s, D)."""
    (B, N, _), h, D = x.shape, layer.stage.num_heads, layer.stage.embed_dim
    W, T, s = prod(layer.windows.counts), prod(layer.windows.size), layer.q_stride**2
    qkv = tape.linear("qkv", x, 3 * D, bias=layer.stage.qkv_bias)
    # (B, N, 3D) -> (B, T, W, 3, h, d) -> (3, B, h, W, T, d)
    q, k, v = steps.parts(qkv.view(B, T, W, 3, h, D // h).permute(3, 0, 4, 2, 1, 5))
    pooled: tuple[Tensor, ...] = ()
    if s != 1:
        q = steps.maxima("pool", q.view(B, h, W, s, T // s, D // h), 3)
        pooled = (q,)
    values, *held = steps.attend(q, k, v, kernel)
    merged = tape.reshape("merge", values.transpose(1, 3), B, N // s, D)
    tape.free(values, keep=merged)
    out = tape.linear("proj", merged, D)
    tape.free(merged, *held, *pooled, qkv)
    return out


def positions(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """A learned vector for each token, then the order of mask units: (B, H, W, C) -> (B, HW, C)."""
    B, H, W, C = x.shape
    added = tape.add_weight("add", x.view(B, H * W, C), tape.parameter("pos_embed", 1, H * W, C))
    tape.let_go()
    out = unroll(tape, added.view(B, H, W, C), part.config)
    tape.free(added, keep=out)
    return out


def windowed_positions(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """A resized background and a repeated window, then the order of mask units: (B, H, W, C) -> (B, HW, C)."""
    (B, H, W, C), config = x.shape, part.config
    h, w = config.pos_embed_window
    tape.registers("background", "window")
    tiled = tape.repeat("tile", tape.used_weight("window", 1, C, h, w), 1, 1, H // h, W // w)
    background = tape.used_weight("background", 1, C, *config.pos_embed_background)
    resized = tape.interpolate("resize", background, (H, W), "bicubic")
    summed = tape.add("add_window", resized, tiled)
    tape.free(resized, tiled)
    added = tape.add("add", x.view(B, H * W, C), summed.view(1, C, H * W).transpose(1, 2))
    tape.free(summed)
    tape.let_go()
    out = unroll(tape, added.view(B, H, W, C), config)
    tape.free(added, keep=out)
    return out


def unroll(tape: Tape, x: Tensor, config: EncoderConfig) -> Tensor:
    """Tokens in the order of squares of squares, a copy for each: (B, H, W, C) -> (B, HW, C). `x` is not freed."""
    (B, H, W, C), side = x.shape, stride(config)
    whole, images, h, w = x, B, H, W
    for number in range(levels(config)):
        h, w = h // side, w // side
        squares = whole.view(images, h, side, w, side, C).permute(0, 2, 4, 1, 3, 5)
        images = images * side * side
        copy = tape.reshape(f"unroll.{number}", squares, images, h, w, C)
        tape.free(*_without(whole, x, copy))
        whole = copy
    return tape.reshape("unroll", whole, B, H * W, C)


def _without(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """`x`, unless its memory is that of another."""
    return () if any(x.storage is other.storage for other in others) else (x,)


def pool(tape: Tape, x: Tensor, _part: PartConfig) -> Tensor:
    """The mean of all tokens, and its norm: (B, N, C) -> (B, C)."""
    B, _, C = x.shape
    mean = tape.mean("mean", x, 1).view(B, C)
    tape.let_go()
    out = tape.layer_norm("norm", mean)
    tape.free(mean)
    return out


def classifier(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """The same, and a linear layer: (B, N, C) -> (B, classes)."""
    pooled = pool(tape, x, part)
    out = tape.linear("head", pooled, part.leaving.dim)
    tape.free(pooled)
    return out


BLOCKS = {"mask_unit": block}
POS_EMBEDS = {"mask_units": positions, "mask_units_window": windowed_positions}
NECKS = {"hiera_pool": pool, "hiera_classifier": classifier}
