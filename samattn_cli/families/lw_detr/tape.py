"""LW-DETR's encoder on the Tape; the same pass in torch is `samattn_cli/families/lw_detr/stack.py`.

Shapes: B images, H x W grid, k x l windows of an image, M = B * k * l, N tokens of a window, C width, h heads, d = C / h.
"""

from __future__ import annotations

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...tape.kernels import attention as attention_kernel
from ...tape.storage import Dim
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ..rf_detr.tape import c2f, conv_norm, mlp, norm_of_channels, whole_images
from ..rf_detr.words import blocks_read
from .words import WIDE


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """Pre-norm block that scales what it adds: (M, N, C) -> (M, N, C)."""
    tape.registers("gamma_1", "gamma_2", "norm1", "attn", "norm2", "mlp")
    normed = tape.layer_norm("norm1", x)
    with tape.module("attn"):
        attended = attention(tape, whole_images(normed, layer), layer.stage, kernel)
    scaled = tape.mul("scale_attn", tape.used_weight("gamma_1", x.shape[-1]), attended)
    tape.free(attended, normed)
    added = tape.add("add_attn", x, scaled.view(*x.shape))
    tape.free(scaled)
    normed = tape.layer_norm("norm2", added)
    with tape.module("mlp"):
        y = mlp(tape, normed, layer.stage)
    tape.free(normed)
    scaled = tape.mul("scale_mlp", tape.used_weight("gamma_2", x.shape[-1]), y)
    tape.free(y)
    out = tape.add("add_mlp", added, scaled)
    tape.free(scaled, added)
    return out


def attention(tape: Tape, x: Tensor, stage: StageConfig, kernel: str) -> Tensor:
    """Multi-head self-attention with one projection, whose keys have no bias: (B, N, C) -> (B, N, C)."""
    (B, N, C), h = x.shape, stage.num_heads
    tape.registers("q_bias", "v_bias", "qkv", "proj")
    bias = qkv_bias(tape, C) if stage.qkv_bias else None
    qkv = tape.linear_with("qkv", x, tape.parameter("qkv.weight", 3 * C, C), bias)
    q, k, v = qkv.view(B, N, 3, h, C // h).permute(2, 0, 3, 1, 4).unbind()
    if kernel == "eager":
        values, scaled, probabilities = eager(tape, q, k, v)
    else:
        values, scaled, probabilities = attention_kernel(tape, "sdpa", q, k, v), None, None
    y = tape.reshape("merge_heads", values.permute(0, 2, 1, 3), B, N, C)
    tape.free(values, keep=y)
    out = tape.linear("proj", y, C)
    tape.free(y, *(each for each in (scaled, probabilities, bias) if each is not None), qkv)
    return out


def eager(tape: Tape, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """Attention that makes the score matrix: (B, h, N, d), and the tensors that live until the end."""
    scaled = tape.scale("scale", q)
    scores = tape.scores(scaled, k)  # (B, h, N, N)
    probabilities = tape.softmax("softmax", scores)
    tape.free(scores)
    return tape.matmul("values", probabilities, v), scaled, probabilities


def qkv_bias(tape: Tape, C: Dim) -> Tensor:
    """The bias of queries, keys (zeros) and values: (3C,)."""
    q, v = tape.used_weight("q_bias", C), tape.used_weight("v_bias", C)
    zeros = tape.constant("k_bias", q, C)
    out = tape.cat("qkv_bias", (q, zeros, v))
    tape.free(zeros)
    return out


def pos_embed(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Adds the positions of patches, then cuts into windows: (B, H, W, C) -> (M, N, C)."""
    added = with_positions(tape, x, part)
    windows = windows_of(tape, added, part)
    tape.free(added, keep=windows)
    return windows


def with_positions(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Adds the positions of the pretraining grid, resized to another grid: (B, H, W, C) -> the same."""
    (H, W), grid, C = part.config.pretrain_grid, x.shape[1:3], x.shape[-1]
    positions = tape.used_weight("pos_embed", 1, 1 + H * W, C).slice(1, 1).view(1, H, W, C)
    if grid[0] == H and grid[1] == W:
        added = tape.add("add", x, positions)
    else:
        resized = tape.interpolate("resize", positions.permute(0, 3, 1, 2), grid, "bicubic")
        added = tape.add("add", x, resized.permute(0, 2, 3, 1))
        tape.free(resized)
    tape.let_go()
    return added


def windows_of(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Windows as a batch: (B, H, W, C) -> (M, N, C)."""
    (B, H, W, C), (k, m) = x.shape, part.leaving.cut
    # (B, k, H / k, l, W / l, C) -> (B, k, l, H / k, W / l, C)
    grid = x.view(B, k, H // k, m, W // m, C).permute(0, 1, 3, 2, 4, 5)
    return tape.reshape("windows", grid, B * k * m, (H // k) * (W // m), C)


def map_of(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """The tokens of windows as a map: (M, N, C) -> (B, C, H, W)."""
    (M, _, C), (H, W), (k, m) = x.shape, part.entering.grid, part.entering.cut
    B = M // (k * m)
    # (B, k, l, H / k, W / l, C) -> (B, C, k, H / k, l, W / l)
    grid = x.view(B, k, m, H // k, W // m, C).permute(0, 5, 1, 3, 2, 4)
    return tape.reshape("map", grid, B, C, H, W)


def maps(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> tuple[Tensor, ...]:
    """Maps (B, C, H, W) of the outputs of blocks, (M, N, C) each."""
    read = [*taps, x][: len(blocks_read(part.config))]
    made = tuple(map_of(tape, each, part) for each in read)
    tape.let_go(*made)
    return made


def projected(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> tuple[Tensor, ...]:
    """A map of all for each scale: (M, N, C) -> (B, out_chans, ...)."""
    made = maps(tape, x, part, *taps)
    outputs = []
    for number, scale in enumerate(part.config.neck_scales):
        with tape.module(f"scale_layers.{number}"):
            outputs.append(scaled_map(tape, made, scale, part.config.out_chans))
    tape.free(*(each for each in made if each.storage not in tape.last_used))
    return tuple(outputs)


def scaled_map(tape: Tape, made: tuple[Tensor, ...], scale: float, channels: Dim) -> Tensor:
    """All maps (B, C, H, W) at a scale, joined, and a C2f layer: (B, channels, scale * H, scale * W)."""
    tape.registers("sampling_layers", "projector_layer", "layer_norm")
    sampled = []
    for number, each in enumerate(made):
        with tape.module(f"sampling_layers.{number}.layers"):
            sampled.append(at_scale(tape, each, scale))
    joined = tape.cat("cat", sampled, dim=1)
    with tape.module("projector_layer"):
        y = c2f(tape, joined, channels, Tape.batch_norm)
    tape.free(joined)
    out = norm_of_channels(tape, "layer_norm", y)
    tape.free(y, *(each for each in sampled if all(each is not one for one in made)))
    return out


def at_scale(tape: Tape, x: Tensor, scale: float) -> Tensor:
    """A map (B, C, H, W) at twice its size, with a half or a quarter of the channels, at its own, or at half its size."""
    C = x.shape[1]
    if scale == 2:  # noqa: PLR2004 - the scale itself
        if not C > WIDE:
            return tape.conv_transpose2d("0", x, C // 2, 2, stride=2)
        narrow = conv_norm(tape, "0", x, C // 2, 1, norm=Tape.batch_norm, act=Tape.relu)
        out = tape.conv_transpose2d("1", narrow, C // 4, 2, stride=2)
        tape.free(narrow)
        return out
    return x if scale == 1 else conv_norm(tape, "0", x, C, 3, norm=Tape.batch_norm, stride=2, act=Tape.relu)


BLOCKS = {"lw_detr": block}
POS_EMBEDS = {"lw_detr": pos_embed}
NECKS = {"lw_detr_maps": maps, "lw_detr": projected}
