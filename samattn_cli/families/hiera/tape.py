"""SAM 2's encoder on the Tape; the same pass in torch is `samattn_cli/families/hiera/stack.py`.

Shapes: B batch, H x W grid, C and D width before and after a block, h heads, d = D / h, M tokens of a window (or the
grid), N = M / q_stride ** 2 queries.
"""

from __future__ import annotations

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.holds import Holds
from ...tape.kernels import attention as attention_kernel
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import join, window_partition
from ...units import ITEM_BYTES
from ..vit.tape import mlp


class Code(Holds):
    """The steps of the block that implementations write differently, as SAM 2 writes them."""

    def partition(self, x: Tensor, layer: LayerConfig) -> Tensor:
        """Windows of (B, H, W, C), which is freed: (B * windows, h, w, C)."""
        windows = window_partition(self.tape, x, layer.windows)
        self.tape.free(x, keep=windows)
        return windows

    def unpartition(self, windows: Tensor, layer: LayerConfig) -> Tensor:
        """The pooled grid of pooled windows, which are done with: (B, H', W', D); here its padding stays in memory."""
        joined = join(self.tape, windows, layer.windows.pooled(layer.q_stride))
        self.drop("attended", windows, keep=joined)
        return joined.narrow((joined.shape[0], *layer.out_grid, joined.shape[-1]))

    def before_pooling(self, q: Tensor, k: Tensor) -> None:
        """What attention does with queries and keys (B, M, h, d) before it pools the queries: nothing."""

    def eager(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """Attention that makes the score matrix: (B, N, h, d), and what is kept until the end; here that of transformers."""
        return eager(self.tape, q, k, v)


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, *, code: type[Code] = Code) -> Tensor:
    """Pre-norm block: (B, H, W, C) -> (B, H / q_stride, W / q_stride, D); `code` is that of an implementation."""
    steps, shortcut = code(tape), x
    tape.registers("norm1", "attn", "norm2", "mlp", "proj")
    normed = tape.layer_norm("norm1", x)
    if layer.in_dim != layer.stage.embed_dim:
        projected = tape.linear("proj", normed, layer.stage.embed_dim)
        shortcut = pool(tape, "pool", projected, layer.q_stride)
        tape.free(projected, keep=shortcut)
    attended, joined = attend(tape, normed, layer, kernel, steps)
    x = tape.add("add_attn", shortcut, joined)
    steps.drop("attended" if joined.storage is attended.storage else "joined", joined)
    normed = tape.layer_norm("norm2", x)
    with tape.module("mlp"):
        y = mlp(tape, normed, layer.stage, names=("layers.0", "layers.1"))
    steps.drop("norm2", normed)
    out = tape.add("add_mlp", x, y)
    own_shortcut = () if layer.in_dim == layer.stage.embed_dim else (shortcut,)
    tape.free(x, y, *own_shortcut, *steps.held("block"))
    return out


def attend(tape: Tape, normed: Tensor, layer: LayerConfig, kernel: str, code: Code) -> tuple[Tensor, Tensor]:
    """Attention over windows of `normed`, or the whole grid: (B, H, W, C) -> its output, the pooled grid (B, H', W', D)."""
    windows = normed
    if not layer.is_global:
        windows = code.partition(normed, layer)
    with tape.module("attn"):
        attended = attention(tape, windows, layer, kernel, code)
    tape.free(windows)
    if layer.is_global:
        return attended, attended
    return attended, code.unpartition(attended, layer)


def pool(tape: Tape, name: str, x: Tensor, stride: int) -> Tensor:
    """Maxima over squares of (B, H, W, C); for a stride of 1, `x` itself."""
    if stride == 1:
        return x
    return tape.max_pool2d(name, x.permute(0, 3, 1, 2), stride).permute(0, 2, 3, 1)


def attention(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, code: Code) -> Tensor:
    """Attention of pooled queries to all keys: (B, H, W, C) -> (B, H / q_stride, W / q_stride, D)."""
    (B, H, W, _), D, h = x.shape, layer.stage.embed_dim, layer.stage.num_heads
    qkv = tape.linear("qkv", x, 3 * D, bias=layer.stage.qkv_bias)
    q, k, v = qkv.view(B, H * W, 3, h, D // h).unbind(2)
    code.before_pooling(q, k)
    height, width = H // layer.q_stride, W // layer.q_stride
    if layer.q_stride != 1:
        pooled = pool(tape, "q_pool", q.view(B, H, W, D), layer.q_stride)
        q = pooled.view(B, height * width, h, D // h)
    q, k, v = (each.transpose(1, 2) for each in (q, k, v))
    out, *kept = code.eager(q, k, v) if kernel == "eager" else sdpa(tape, q, k, v)
    y = tape.reshape("merge_heads", out, B, height, width, D)
    result = tape.linear("proj", y, D)
    tape.free(y, out, *kept, qkv, *code.held("attention"))
    return result


def sdpa(tape: Tape, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """Torch's scaled_dot_product_attention, as in SAM 2: (B, h, N, d), (B, h, M, d) twice -> (B, N, h, d), and what is kept."""
    return attention_kernel(tape, "sdpa", q, k, v).transpose(1, 2), q


def eager(tape: Tape, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """Attention that makes the score matrix, as in transformers, and what is kept until the end."""
    raw = tape.scores(q, k)  # (B, h, N, M)
    scores = tape.scale("scale", raw)
    tape.free(raw)
    wide = tape.softmax("softmax", scores, in_float32=True)
    probabilities = tape.cast("softmax.narrow", wide, q.item_bytes)
    tape.free(wide, scores, keep=probabilities)
    values = tape.matmul("values", probabilities, v)
    merged = tape.contiguous("merge", values.transpose(1, 2))
    tape.free(values, keep=merged)
    return merged, probabilities, q


def patch_embed(tape: Tape, image: Tensor, part: PartConfig) -> Tensor:
    """Overlapping patches to vectors: (B, in_chans, height, width) -> (B, H, W, C)."""
    patch = part.config.patch_size
    y = tape.conv2d("proj", image, part.leaving.dim, 2 * patch - 1, stride=patch, padding=patch - 1)
    return y.permute(0, 2, 3, 1)


def pos_embed(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Add a background that is resized to the grid, and a window that is repeated: (B, H, W, C) -> the same."""
    grid, window, C = part.entering.grid, part.config.pos_embed_window, part.entering.dim
    background = tape.used_weight("background", 1, C, *part.config.pos_embed_background)
    resized = tape.interpolate("resize", background, grid, "bicubic")
    times = [side // tile for side, tile in zip(grid, window, strict=True)]
    tiled = tape.repeat("tile", tape.used_weight("window", 1, C, *window), 1, 1, *times)
    positions = tape.add("add_window", resized, tiled)
    tape.free(resized, tiled)
    out = tape.add("add", x, positions.permute(0, 2, 3, 1))
    tape.free(positions)
    return out


def sam2_fpn(tape: Tape, x: Tensor, part: PartConfig, *finer: Tensor) -> tuple[Tensor, ...]:
    """The outputs of four stages, `finer` and then x: (B, H, W, C) each -> three (B, out_chans, H, W), finest first.

    The last level is enlarged in float32 and added to the one before it. So that output is float32 for every dtype. SAM 2's
    encoder also makes a sine encoding of the positions for each output, which is left out here.
    """
    fine, middle, coarse = finer
    coarsest = lateral(tape, 0, x, part)
    finer_lateral = lateral(tape, 1, coarse, part)
    wide = tape.cast("to_float32", coarsest, ITEM_BYTES["float32"])
    top_down = tape.interpolate("top_down", wide, finer_lateral.shape[2:], "nearest")
    tape.free(wide, keep=coarsest)
    summed = tape.add("add_top_down", finer_lateral, top_down)
    second = lateral(tape, 2, middle, part)
    tape.free(finer_lateral)
    first = lateral(tape, 3, fine, part)
    tape.free(coarsest, top_down)
    return first, second, summed


def lateral(tape: Tape, number: int, x: Tensor, part: PartConfig) -> Tensor:
    """(B, H, W, C) -> (B, out_chans, H, W)."""
    return tape.conv2d(f"convs.{number}.conv", x.permute(0, 3, 1, 2), part.config.out_chans, 1)


BLOCKS = {"hiera": block}
PATCH_EMBEDS = {"overlapping": patch_embed}
POS_EMBEDS = {"hiera": pos_embed}
NECKS = {"sam2_fpn": sam2_fpn}
