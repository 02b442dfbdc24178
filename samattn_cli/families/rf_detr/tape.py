"""RF-DETR's encoder on the Tape; the same pass in torch is `samattn_cli/families/rf_detr/stack.py`.

Shapes: B images, H x W grid, k x l windows of an image, M = B * k * l, N tokens of a window, its class token included, C width,
h heads, d = C / h.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...tape.holds import Holds
from ...tape.kernels import attention as attention_kernel
from ...tape.storage import Dim, Shape
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...units import ITEM_BYTES
from .words import BLOCKS_OF_C2F, blocks_read

WIDE = ITEM_BYTES["float32"]


class Code(Holds):
    """The names of a block and of its attention, as Roboflow's code has them.

    Attributes:
        unbiased: the projections that never have a bias.
    """

    holds = {"attended": "block", "scaled": "block", "probabilities": "values"}  # noqa: RUF012 - never changed
    unbiased: tuple[str, ...] = ()

    def softmax(self, scores: Tensor) -> Tensor:
        """The probabilities of scores (..., N, M), in the type of the scores, which are freed."""
        probabilities = self.tape.softmax("softmax", scores)
        self.tape.free(scores)
        return probabilities


def whole_images(x: Tensor, layer: LayerConfig) -> Tensor:
    """All tokens of an image in one sequence, if the block is global: (M, N, C) -> (B, k * l * N, C)."""
    (M, N, C), (down, across) = x.shape, layer.cut
    return x.view(M // (down * across), down * across * N, C) if layer.is_global else x


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, *, code: type[Code] = Code) -> Tensor:
    """Pre-norm block with LayerScale: (M, N, C) -> (M, N, C)."""
    steps = code(tape)
    tape.registers("norm1", "attn", "layer_scale1", "norm2", "mlp", "layer_scale2")
    normed = tape.layer_norm("norm1", whole_images(x, layer))
    with tape.module("attn"):
        attended = attention(tape, normed, layer.stage, kernel, steps)
    steps.drop("norm1", normed)
    scaled = layer_scale(tape, "layer_scale1", attended.view(*x.shape))
    steps.drop("attended", attended)
    added = tape.add("add_attn", scaled, x)
    steps.drop("scaled", scaled)
    normed = tape.layer_norm("norm2", added)
    with tape.module("mlp"):
        y = mlp(tape, normed, layer.stage)
    tape.free(normed)
    scaled = layer_scale(tape, "layer_scale2", y)
    tape.free(y)
    out = tape.add("add_mlp", scaled, added)
    tape.free(scaled, added, *steps.held("block"))
    return out


def layer_scale(tape: Tape, name: str, x: Tensor) -> Tensor:
    """Channels times a learned number each: (..., C) -> the same."""
    with tape.module(name):
        return tape.mul("", x, tape.used_weight("lambda1", x.shape[-1]))


def attention(tape: Tape, x: Tensor, stage: StageConfig, kernel: str, code: Code) -> Tensor:
    """Multi-head self-attention, with a projection for each of queries, keys and values: (B, N, C) -> (B, N, C)."""
    (B, N, C), h = x.shape, stage.num_heads
    q, k, v = (
        tape.linear(name, x, C, bias=stage.qkv_bias and name not in code.unbiased)
        .view(B, N, h, C // h)
        .transpose(1, 2)
        for name in ("q_proj", "k_proj", "v_proj")
    )
    out = eager(tape, q, k, v, code) if kernel == "eager" else attention_kernel(tape, "sdpa", q, k, v)
    y = tape.contiguous("merge_heads", out.transpose(1, 2))
    tape.free(out, keep=y)
    for name, each in (("q", q), ("k", k), ("v", v)):
        code.drop(name, each)
    tape.free(*code.held("values"))
    result = tape.linear("o_proj", y.view(B, N, C), C)
    tape.free(y, *code.held("attention"))
    return result


def eager(tape: Tape, q: Tensor, k: Tensor, v: Tensor, code: Code) -> Tensor:
    """Attention that makes the score matrix: (B, h, N, d)."""
    products = tape.scores(q, k, call="torch.matmul")  # (B, h, N, N)
    scores = tape.scale("scale", products)
    tape.free(products)
    probabilities = code.softmax(scores)
    out = tape.matmul("values", probabilities, v, call="torch.matmul")
    code.drop("probabilities", probabilities)
    return out


def mlp(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """Linear, GELU, linear: (..., C) -> (..., C)."""
    hidden = tape.linear("fc1", x, stage.mlp_dim)
    active = tape.gelu("act", hidden)
    tape.free(hidden)
    out = tape.linear("fc2", active, x.shape[-1])
    tape.free(active)
    return out


def pos_embed(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """A class token in front, learned vectors added, then cut into windows: (B, H, W, C) -> (M, N, C)."""
    made_for = part.config.pretrain_grid
    B, H, W, C = x.shape
    tape.registers("cls_token", "mask_token", "position_embeddings")
    token = tape.used_weight("cls_token", 1, 1, C).expand_to(B, 1, C)
    patches = tape.cat("cat", (token, x.view(B, H * W, C)), dim=1)
    tape.let_go()
    tape.unused_weight("mask_token", 1, C)
    if made_for[0] == H and made_for[1] == W:
        tokens = tape.add_weight("add", patches, tape.parameter("position_embeddings", 1, 1 + H * W, C))
    else:
        positions = resized_positions(tape, made_for, (H, W), C)
        tokens = tape.add("add", patches, positions)
        tape.free(positions)
    tape.free(patches)
    out = windows_of(tape, tokens, part)
    tape.free(tokens, keep=out)
    return out


def resized_positions(tape: Tape, made_for: Shape, size: Shape, C: Dim) -> Tensor:
    """The vector of the class token, and those of patches (h, w) resized to another `size` (H, W) in float32: (1, 1 + HW, C)."""
    (h, w), (H, W) = made_for, size
    weight = tape.used_weight("position_embeddings", 1, 1 + h * w, C)
    of_class = weight.slice(1, 0, 1)
    patches = weight.slice(1, 1).view(1, h, w, C).permute(0, 3, 1, 2)
    wide = tape.cast("to_float32", patches, WIDE)
    resized = tape.interpolate("resize", wide, (H, W), "bicubic")
    tape.free(wide, keep=patches)
    narrow = tape.cast("from_float32", resized, patches.item_bytes)
    tape.free(resized, keep=narrow)
    of_patches = narrow.permute(0, 2, 3, 1).view(1, H * W, C)
    out = tape.cat("cat_positions", (of_class, of_patches), dim=1)
    tape.free(narrow)
    return out


def windows_of(tape: Tape, tokens: Tensor, part: PartConfig) -> Tensor:
    """Windows as a batch, each with the class token of its image: (B, 1 + HW, C) -> (M, N, C)."""
    (B, _, C), (H, W), (k, m) = tokens.shape, part.entering.grid, part.leaving.cut
    if k == m == 1:
        return tokens
    of_class = tokens.slice(1, 0, 1)
    # (B, k, H / k, l, W / l, C) -> (B, k, l, H / k, W / l, C)
    grid = tokens.slice(1, 1).view(B, k, H // k, m, W // m, C).transpose(2, 3)
    windows = tape.reshape("windows", grid, B * k * m, (H // k) * (W // m), C)
    classes = tape.repeat("repeat_class", of_class, k * m, 1, 1)
    out = tape.cat("cat_windows", (classes, windows), dim=1)
    tape.free(windows, classes, keep=tokens)
    return out


def map_of(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """The tokens of windows as a map, after the norm that all maps share: (M, N, C) -> (B, C, H, W)."""
    (M, _, C), (H, W), (k, m) = x.shape, part.entering.grid, part.entering.cut
    y = normed = tape.layer_norm("layernorm", x)
    B = M // (k * m)
    y = y.slice(1, 1)
    if not k == m == 1:
        joined = tape.reshape("join", y, B, H * W, C)
        tape.free(normed, keep=joined)
        grid = joined.view(B, k, m, H // k, W // m, C).transpose(2, 3)
        y = normed = tape.reshape("unpartition", grid, B, H, W, C)
        tape.free(joined, keep=y)
    out = tape.contiguous("map", y.view(B, H, W, C).permute(0, 3, 1, 2))
    tape.free(normed, keep=out)
    return out


def maps(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> tuple[Tensor, ...]:
    """Maps (B, C, H, W) of the outputs of blocks, (M, N, C) each; `taps` are what enters the first, then all outputs but x."""
    _, *outputs = *taps, x
    made = tuple(map_of(tape, outputs[index], part) for index in blocks_read(part.config))
    tape.let_go()
    return made


def projected(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> Tensor:
    """One map of all: (M, N, C) -> (B, out_chans, H, W)."""
    tape.registers("layernorm", "projector_layer", "layer_norm")
    made = maps(tape, x, part, *taps)
    joined = tape.cat("cat", made, dim=1)
    with tape.module("projector_layer"):
        y = c2f(tape, joined, part.config.out_chans, norm_of_channels)
    tape.free(joined)
    out = norm_of_channels(tape, "layer_norm", y)
    tape.free(y, *made)
    return out


Norm = Callable[[Tape, str, Tensor], Tensor]


def norm_of_channels(tape: Tape, name: str, x: Tensor) -> Tensor:
    """Layer norm over the channels of (B, C, H, W), in the memory order of (B, H, W, C)."""
    return tape.layer_norm(name, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def c2f(tape: Tape, x: Tensor, channels: Dim, norm: Norm) -> Tensor:
    """YOLOv8's C2f: a half of a 1x1 convolution goes through pairs of 3x3 ones, and all parts are joined: (B, channels, H, W)."""
    half = channels // 2
    conv = partial(conv_norm, tape, norm=norm)
    tape.registers("conv1", "conv2", "bottlenecks")
    first = conv("conv1", x, 2 * half, 1)
    parts = list(first.split((half, half), 1))
    y = copied = tape.contiguous("second_half", parts[-1])
    for number in range(BLOCKS_OF_C2F):
        with tape.module(f"bottlenecks.{number}"):
            between = conv("conv1", y, half, 3)
            y = conv("conv2", between, half, 3)
            tape.free(between)
        if not number:
            tape.free(copied, keep=first)
        parts.append(y)
    joined = tape.cat("cat", parts, dim=1)
    out = conv("conv2", joined, channels, 1)
    tape.free(joined, first, *parts[2:])
    return out


def conv_norm(
    tape: Tape,
    name: str,
    x: Tensor,
    channels: Dim,
    kernel: int,
    *,
    norm: Norm,
    stride: int = 1,
    act: Callable[[Tape, str, Tensor], Tensor] = Tape.silu,
) -> Tensor:
    """A convolution without a bias, its norm and an activation: (B, channels, H / stride, W / stride)."""
    with tape.module(name):
        y = tape.conv2d("conv", x, channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        normed = norm(tape, "norm", y)
        tape.free(y)
        out = act(tape, "activation", normed)
        tape.free(normed)
    return out


BLOCKS = {"rf_detr": block}
POS_EMBEDS = {"rf_detr": pos_embed}
NECKS = {"rf_detr_maps": maps, "rf_detr": projected}
