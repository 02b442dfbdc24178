"""SAM's and ViTDet's encoder on the Tape; the same pass in torch is `samattn_cli/families/vit/stack.py`.

Shapes: B batch, H x W grid, C width, h heads, d = C / h, N = windows (or B) * h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...tape.holds import Holds
from ...tape.kernels import attention as attention_kernel
from ...tape.norms import layer_norm_2d
from ...tape.patches import patches_of
from ...tape.rel_pos import decomposed_terms, joint_term, relative_positions
from ...tape.storage import Dim, Shape
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import (
    add_mask,
    free_unless_shared,
    of_images,
    shift_mask,
    window_partition,
    window_unpartition,
)
from ...units import KERNEL_ALIGNMENT_BYTES
from .words import global_blocks, last_block

Step = Callable[[Tensor], Tensor]
Neck = Callable[[Tape, Tensor, PartConfig], Tensor]


def qkv_of(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """Queries, keys and values in one projection: (..., C) -> (..., 3C)."""
    return tape.linear("qkv", x, 3 * x.shape[-1], bias=stage.qkv_bias)


Projection = Callable[[Tape, Tensor, StageConfig], Tensor]


class Code(Holds):
    """The steps of the block that implementations write differently, as segment-anything writes them."""

    holds: Mapping[str, str] = {"attended": "attention", "Rh": "add_decomposed"}

    def partition(self, x: Tensor, layer: LayerConfig) -> Tensor:
        """Windows of (B, H, W, C): (B * windows, h, w, C)."""
        return window_partition(self.tape, x, layer.windows, layer.shift_size)

    def positions(self, name: str, size: Dim, made_for: Dim, d: Dim) -> Tensor:
        """The vectors of each pair of rows or of columns: (size, size, d)."""
        return relative_positions(self.tape, name, size, made_for, d)

    def add_decomposed(self, scores: Tensor, q: Tensor, size: Shape, layer: LayerConfig) -> Tensor:
        """Scores (N, HW, HW) plus the terms of rows and of columns."""
        tape, (N, _, d), (H, W) = self.tape, q.shape, size
        Rh, Rw = both_relative_positions(self, size, layer.rel_pos_size, d)
        grid_q = tape.reshape("rel_q", q, N, H, W, d)
        rel_h, rel_w = decomposed_terms(tape, grid_q, Rh, Rw, partial(self.drop, "Rh"))
        with_rows = tape.add("add_rel_h", scores.view(N, H, W, H, W), rel_h.view(N, H, W, H, 1))
        out = tape.add("add_rel_w", with_rows, rel_w.view(N, H, W, 1, W))
        tape.free(with_rows, *self.held("add_decomposed"), Rw, rel_h, rel_w)
        return out.view(N, H * W, H * W)

    def before_scores(self, q: Tensor, size: Shape, layer: LayerConfig) -> None:
        """What eager attention makes of its queries (N, HW, d) before the scores: nothing here."""

    def softmax(self, scores: Tensor) -> Tensor:
        """Scores (N, HW, HW) to probabilities."""
        return self.tape.softmax("softmax", scores)

    def split(self, qkv: Tensor, stage: StageConfig) -> tuple[Tensor, ...]:
        """Queries, keys and values for torch's attention: here (B, h, HW, d) each."""
        return split(qkv, stage)

    def per_head(self, x: Tensor, _stage: StageConfig) -> Tensor:
        """Queries, keys or values as torch's attention takes them, once the bias is computed: (B, h, HW, d)."""
        return x

    def of_heads(self, out: Tensor, _stage: StageConfig) -> Tensor:
        """What torch's attention returns, with the heads of each image: (B, h, HW, d)."""
        return out

    def for_projection(self, size: Shape) -> Shape:
        """The dimensions of the tokens of a window or grid (H, W) as the projection takes them: here the same."""
        return size

    def for_mlp(self, x: Tensor) -> Tensor:
        """The tokens (B, H, W, C) as the second half of the block takes them: here as they are."""
        return x

    def decomposed_bias(self, q: Tensor, size: Shape, layer: LayerConfig) -> Tensor:
        """The terms of rows and of columns in the scores of queries (B, h, HW, d): (B, h, HW, HW)."""
        tape, (B, h, N, d), (H, W) = self.tape, q.shape, size
        grid_q = q.view(B, h, H, W, d)  # before the tables are read: autograd's order follows
        Rh, Rw = both_relative_positions(self, size, layer.rel_pos_size, d)
        terms = decomposed_terms(tape, grid_q, Rh, Rw)
        tape.free(Rh, Rw)
        rel_h = tape.contiguous("rel_h_rows", terms[0])
        rel_w = tape.contiguous("rel_w_rows", terms[1])
        tape.free(terms[0], keep=rel_h)
        tape.free(terms[1], keep=rel_w)
        summed = tape.add("add_rel", rel_h.view(B, h, H, W, H, 1), rel_w.view(B, h, H, W, 1, W))
        tape.free(rel_h, rel_w)
        return summed.view(B, h, N, N)


def block(
    tape: Tape,
    x: Tensor,
    layer: LayerConfig,
    kernel: str = "eager",
    *,
    project: Projection = qkv_of,
    code: type[Code] = Code,
    after: Step | None = None,
) -> Tensor:
    """Pre-norm block: (B, H, W, C) -> (B, H, W, C), and what comes `after` it in the same function.

    `project` is as in `attention`; `code` is that of an implementation.
    """
    stage, steps = layer.stage, code(tape)

    def attend(windows: Tensor) -> Tensor:
        return attention(tape, windows, layer, kernel, project=project, code=steps)

    out = windowed_block(tape, x, layer, attend, lambda y: mlp(tape, y, stage), steps)
    if after is not None:
        out = after(out)
    tape.free(*steps.held("layer"))
    return out


def windowed_block(
    tape: Tape, x: Tensor, layer: LayerConfig, attend: Step, mix: Step, code: Code | None = None
) -> Tensor:
    """Pre-norm block of any attention over windows and any MLP: (B, H, W, C) -> (B, H, W, C)."""
    code = code or Code(tape)
    cuts, shift = layer.windows, layer.shift_size
    shortcut, grid = x, x.shape[1:3]
    x = normed = tape.layer_norm("norm1", shortcut)
    if not layer.is_global:
        x = code.partition(normed, layer)
        tape.free(normed, keep=x)
    windows = x
    with tape.module("attn"):
        x = attended = attend(windows)
    tape.free(windows)
    if not layer.is_global:
        x = window_unpartition(tape, attended, cuts, grid, shift)
        code.drop("returned", attended, keep=x)
    joined = x
    x = code.for_mlp(tape.add("add_attn", shortcut, joined))
    code.drop("returned" if joined.storage is attended.storage else "joined", joined)
    normed = tape.layer_norm("norm2", x)
    with tape.module("mlp"):
        y = mix(normed)
    code.drop("norm2", normed)
    out = tape.add("add_mlp", x, y)
    tape.free(x, y, *code.held("block"))
    return out if out.shape == shortcut.shape else out.view(*shortcut.shape)


def attention(
    tape: Tape,
    x: Tensor,
    layer: LayerConfig,
    kernel: str,
    *,
    project: Projection = qkv_of,
    code: Code | None = None,
) -> Tensor:
    """Multi-head self-attention: (B, H, W, C) -> (B, H, W, C).

    Args:
        tape: where it is recorded.
        x: the tokens.
        layer: heads, relative positions, shift.
        kernel: "eager", "sdpa" or "fused".
        project: makes the packed queries, keys and values (B, H, W, 3C).
        code: the steps of an implementation; by default segment-anything's.
    """
    kernels = {"eager": eager, "sdpa": sdpa, "fused": sdpa if layer.stage.rel_pos == "none" else fused}
    return kernels[kernel](tape, project(tape, x, layer.stage), layer, code or Code(tape))


def eager(tape: Tape, qkv: Tensor, layer: LayerConfig, code: Code) -> Tensor:
    """Attention that makes the score matrix, as in SAM's code."""
    (B, H, W, width), heads = qkv.shape, layer.stage.num_heads
    C = width // 3
    d = C // heads
    # (B, H, W, 3C) -> (B, HW, 3, h, d) -> (3, B, h, HW, d) -> (3, B*h, HW, d)
    split = qkv.view(B, H * W, 3, heads, d).permute(2, 0, 3, 1, 4)
    packed = tape.reshape("split_heads", split, 3, B * heads, H * W, d)
    q, k, v = packed.unbind()  # (B*h, HW, d), each
    code.before_scores(q, (H, W), layer)
    scaled = tape.scale("scale", q)
    scores = tape.scores(scaled, k)  # (B*h, HW, HW)
    code.drop("scaled", scaled)
    if layer.stage.rel_pos != "none":
        biased = add_rel_pos(tape, scores, q, (H, W), layer, code)
        tape.free(scores)
        scores = biased
    if mask := shift_mask(tape, layer):
        masked = add_mask(tape, scores.view(B, heads, H * W, H * W), mask).view(*scores.shape)
        tape.free(scores)
        scores = masked
    probabilities = code.softmax(scores)
    code.drop("scores", scores)
    values = tape.matmul("values", probabilities, v)  # (B*h, HW, d)
    # (B*h, HW, d) -> (B, h, H, W, d) -> (B, H, W, C)
    merged = values.view(B, heads, H, W, d).permute(0, 2, 3, 1, 4)
    y = tape.reshape("merge_heads", merged, B, H, W, C)
    tape.free(values, keep=y)
    out = tape.linear("proj", y, C)
    code.drop("probabilities", probabilities)
    tape.free(y, *code.held("attention"), packed, qkv)
    return out


def add_rel_pos(tape: Tape, scores: Tensor, q: Tensor, size: Shape, layer: LayerConfig, code: Code) -> Tensor:
    """Scores (N, HW, HW) plus the terms of their relative positions."""
    if layer.stage.rel_pos != "joint":
        return code.add_decomposed(scores, q, size, layer)
    rel = joint_term(tape, q, size, layer.rel_pos_size)
    out = tape.add("add_rel_hw", scores, rel)
    tape.free(rel)
    return out


def sdpa(tape: Tape, qkv: Tensor, layer: LayerConfig, code: Code) -> Tensor:
    """Torch's scaled_dot_product_attention; its mask of tokens by tokens has the relative positions."""
    q, k, v = code.split(qkv, layer.stage)
    mask = shift_mask(tape, layer)
    bias = None if layer.stage.rel_pos == "none" else rel_pos_term(tape, q, qkv.shape[1:3], layer, code)
    if mask is not None:
        bias = with_mask(tape, bias, mask, qkv.shape[0])
    q, k, v = (code.per_head(x, layer.stage) for x in (q, k, v))
    out = attention_kernel(tape, "sdpa", q, k, v, bias)
    if bias is not None and not (mask is not None and bias.storage is mask.storage):
        code.drop("bias", bias)
    packed = () if q.storage is qkv.storage else (q,)
    kept = (*code.held("attention"), *packed, qkv)
    B, H, W, _ = qkv.shape
    out = code.of_heads(out, layer.stage)
    result = merge(tape, out, code.for_projection((H, W)), *kept, holds="attended" in code.holds)
    return result if len(result.shape) == len(qkv.shape) else result.view(B, H, W, result.shape[-1])


def with_mask(tape: Tape, bias: Tensor | None, mask: Tensor, B: Dim) -> Tensor:
    """The term of relative positions plus the mask of shifted windows: (B, h or 1, HW, HW)."""
    repeated = of_images(tape, mask, B)
    if bias is None:
        return repeated
    out = tape.add("add_mask", bias, repeated)
    free_unless_shared(tape, repeated, (mask,))
    tape.free(bias)
    return out


def fused(tape: Tape, qkv: Tensor, layer: LayerConfig, code: Code) -> Tensor:
    """Folds decomposed relative positions into longer queries and keys, without a tensor of tokens by tokens."""
    q, k, v = split(qkv, layer.stage)
    (B, h, N, d), (H, W) = q.shape, qkv.shape[1:3]
    q, k = q.view(B, h, H, W, d), k.view(B, h, H, W, d)
    Rh, Rw = both_relative_positions(code, (H, W), layer.rel_pos_size, d)
    rel_h, rel_w = decomposed_terms(tape, q, Rh, Rw)
    tape.free(Rh, Rw)
    rest = -(d + H + W) % (KERNEL_ALIGNMENT_BYTES // q.item_bytes)
    zeros = (tape.constant("zeros", q, 1),) if rest != 0 else ()
    padding = tuple(zero.expanded((B, h, H, W, rest)) for zero in zeros)
    rows, columns = tape.constant("rows", q, H, H), tape.constant("columns", q, W, W)
    scaled = tape.scale("scale", q)
    longer_q = tape.cat("cat_q", (scaled, rel_h, rel_w, *padding))
    tape.free(scaled)
    of_rows, of_columns = rows.view(H, 1, H).expanded((B, h, H, W, H)), columns.expanded((B, h, H, W, W))
    longer_k = tape.cat("cat_k", (k, of_rows, of_columns, *padding))
    tape.free(rel_h, rel_w, rows, columns, *zeros)
    length = longer_q.shape[-1]
    longer_q, longer_k = longer_q.view(B, h, N, length), longer_k.view(B, h, N, length)
    out = attention_kernel(tape, "sdpa", longer_q, longer_k, v)
    return merge(tape, out, (H, W), qkv, longer_q, longer_k)


def split(qkv: Tensor, stage: StageConfig) -> tuple[Tensor, ...]:
    """Queries, keys and values (B, h, HW, d), views of the packed projection."""
    (B, H, W, packed), heads = qkv.shape, stage.num_heads
    # (B, H, W, 3C) -> (B, HW, 3, h, d) -> (3, B, h, HW, d)
    return qkv.view(B, H * W, 3, heads, packed // 3 // heads).permute(2, 0, 3, 1, 4).unbind()


def rel_pos_term(tape: Tape, q: Tensor, size: Shape, layer: LayerConfig, code: Code) -> Tensor:
    """The term of relative positions in the scores: (B, h, HW, HW)."""
    if layer.stage.rel_pos != "joint":
        return code.decomposed_bias(q, size, layer)
    B, h, N, d = q.shape
    rows = tape.reshape("rel_q", q, B * h, N, d)
    term = joint_term(tape, rows, size, layer.rel_pos_size).view(B, h, N, N)
    tape.free(rows, keep=q)
    return term


def merge(tape: Tape, out: Tensor, size: Shape, *kept: Tensor, holds: bool = True) -> Tensor:
    """Join the heads of (B, h, HW, d) and project; frees the `kept` tensors at the end, and `out` unless a name `holds` it."""
    B, h, _, d = out.shape
    y = tape.reshape("merge_heads", out.permute(0, 2, 1, 3), B, *size, h * d)
    if not holds:
        tape.free(out, keep=y)
    result = tape.linear("proj", y, h * d)
    tape.free(y, *([out] if holds else []), *kept)
    return result


def both_relative_positions(code: Code, size: Shape, made_for: Shape, d: Dim) -> tuple[Tensor, Tensor]:
    """The vectors of each pair of rows (H, H, d), and of columns (W, W, d)."""
    Rh = code.positions("rel_pos_h", size[0], made_for[0], d)
    return Rh, code.positions("rel_pos_w", size[1], made_for[1], d)


def mlp(tape: Tape, x: Tensor, stage: StageConfig, names: tuple[str, str] = ("lin1", "lin2")) -> Tensor:
    """Linear, GELU, linear: (..., C) -> (..., C)."""
    hidden = tape.linear(names[0], x, stage.mlp_dim)
    active = tape.gelu("act", hidden)
    tape.free(hidden)
    out = tape.linear(names[1], active, x.shape[-1])
    tape.free(active)
    return out


def patch_embed(tape: Tape, image: Tensor, part: PartConfig, *, bias: bool = True) -> Tensor:
    """Non-overlapping patches to vectors: (B, in_chans, height, width) -> (B, H, W, C)."""
    return patches_of(tape, image, part, bias=bias)


def learned_pos_embed(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Add one learned vector per patch: (B, H, W, C) -> the same. The weight is the encoder's own, "pos_embed".

    Positions of another grid are resized, and are a weight of a module.
    """
    grid, made_for = part.entering.grid, part.config.pretrain_grid
    if not (made_for[0] == grid[0] and made_for[1] == grid[1]):
        return resized_pos_embed(tape, x, made_for)
    return tape.add_weight("add", x, tape.parameter("", 1, *part.entering.grid, x.shape[-1]))


def resized_pos_embed(tape: Tape, x: Tensor, made_for: Shape) -> Tensor:
    """Add the nearest vectors of a grid (h, w): (B, H, W, C) -> the same."""
    weight = tape.used_weight("pos_embed", 1, *made_for, x.shape[-1]).permute(0, 3, 1, 2)
    resized = tape.interpolate("resize", weight, x.shape[1:3], "nearest").permute(0, 2, 3, 1)
    out = tape.add("add", x, resized)
    tape.free(resized)
    return out


def sam_neck(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """SAM's neck: (B, H, W, C) -> (B, out_chans, H, W)."""
    return neck_of(tape, x, part.config.out_chans)


def sam_hq_neck(
    tape: Tape, x: Tensor, part: PartConfig, first: Tensor, *later: Tensor, neck: Neck = sam_neck
) -> tuple[Tensor, ...]:
    """SAM's neck, and the outputs (B, H, W, C) of global blocks, of which a decoder reads the first."""
    out = neck(tape, x, part)
    last = (x,) if last_block(part.config) in global_blocks(part.config) else ()
    return out, first, *(each.made_by(None) for each in (*later, *last))


def neck_of(tape: Tape, x: Tensor, channels: int) -> Tensor:
    """1x1 convolution, norm, 3x3 convolution, norm: (B, H, W, C) -> (B, channels, H, W)."""
    y = tape.conv2d("0", x.permute(0, 3, 1, 2), channels, 1, bias=False)
    normed = layer_norm_2d(tape, "1", y)
    tape.free(y)
    y = tape.conv2d("2", normed, channels, 3, padding=1, bias=False)
    tape.free(normed)
    out = layer_norm_2d(tape, "3", y)
    tape.free(y)
    return out


BLOCKS = {"vit": block}
PATCH_EMBEDS = {"patch": patch_embed}
POS_EMBEDS = {"learned": learned_pos_embed}
NECKS = {"sam": sam_neck, "sam_hq": sam_hq_neck}
