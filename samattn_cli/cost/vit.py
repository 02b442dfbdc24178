"""SAM's transformer block on the Tape; the same pass in torch is `samattn_cli/nn/vit.py`.

Shapes: B batch, H x W grid, C width, h heads, d = C / h, N = windows (or B) * h.
"""

from __future__ import annotations

from ..config.keys import Pair
from ..config.model import LayerConfig, StageConfig
from .tape import Tape
from .tensor import Shape, Tensor, ceil_div, decide

SCORES = "attn.scores"
"""The op whose output is the score matrix."""

PART_OF = {
    "attn.qkv": "qkv",
    SCORES: "scores",
    "attn.values": "scores",
    "attn.rel_h": "rel_pos",
    "attn.rel_w": "rel_pos",
    "attn.rel_hw": "rel_pos",
    "attn.proj": "proj",
    "mlp.lin1": "mlp",
    "mlp.lin2": "mlp",
}
"""The part of a block's cost that each of its products belongs to."""


def block(tape: Tape, x: Tensor, layer: LayerConfig) -> Tensor:
    """Pre-norm block: (B, H, W, C) -> (B, H, W, C). The caller's `x` lives until the block returns."""
    stage, window = layer.stage, layer.window_size
    shortcut, grid = x, x.shape[1:3]
    x = normed = tape.layer_norm("norm1", shortcut)
    if not layer.is_global:
        x = window_partition(tape, normed, window)
        tape.free(normed, keep=x)
    windows = x
    with tape.module("attn"):
        x = attended = attention(tape, windows, stage)
    tape.free(windows)
    if not layer.is_global:
        x = window_unpartition(tape, attended, window, grid)
        tape.free(attended, keep=x)
    joined = x
    x = tape.add("add_attn", shortcut, joined)
    tape.free(joined)
    normed = tape.layer_norm("norm2", x)
    with tape.module("mlp"):
        y = mlp(tape, normed, stage)
    tape.free(normed)
    out = tape.add("add_mlp", x, y)
    tape.free(x, y, shortcut)
    return out


def attention(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """Multi-head self-attention, as eager PyTorch: (B, H, W, C) -> (B, H, W, C)."""
    (B, H, W, C), heads = x.shape, stage.num_heads
    d = C // heads
    qkv = tape.linear("qkv", x, 3 * C, bias=stage.qkv_bias)
    # (B, H, W, 3C) -> (B, HW, 3, h, d) -> (3, B, h, HW, d) -> (3, B*h, HW, d)
    split = qkv.view(B, H * W, 3, heads, d).permute(2, 0, 3, 1, 4)
    packed = tape.reshape("split_heads", split, 3, B * heads, H * W, d)
    q, k, v = packed.unbind()  # (B*h, HW, d), each
    scaled = tape.scale("scale", q)
    scores = tape.matmul("scores", scaled, k.permute(0, 2, 1))  # (B*h, HW, HW)
    tape.free(scaled)
    if stage.rel_pos != "none":
        biased = REL_POS[stage.rel_pos](tape, scores, q, (H, W))
        tape.free(scores)
        scores = biased
    probabilities = tape.softmax("softmax", scores)
    tape.free(scores)
    values = tape.matmul("values", probabilities, v)  # (B*h, HW, d)
    # (B*h, HW, d) -> (B, h, H, W, d) -> (B, H, W, C)
    merged = values.view(B, heads, H, W, d).permute(0, 2, 3, 1, 4)
    y = tape.reshape("merge_heads", merged, B, H, W, C)
    tape.free(values, keep=y)
    out = tape.linear("proj", y, C)
    tape.free(y, probabilities, packed, qkv)
    return out


def mlp(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """Linear, GELU, linear: (..., C) -> (..., C)."""
    hidden = tape.linear("lin1", x, stage.mlp_dim)
    active = tape.gelu("act", hidden)
    tape.free(hidden)
    out = tape.linear("lin2", active, x.shape[-1])
    tape.free(active)
    return out


def windows_over(grid: Shape, window: Pair) -> Shape:
    """Windows that cover a grid: (rows, columns); the last of each may reach beyond it, over padding."""
    return ceil_div(grid[0], window[0]), ceil_div(grid[1], window[1])


def window_partition(tape: Tape, x: Tensor, window: Pair) -> Tensor:
    """Cut (B, H, W, C) into (B * windows, h, w, C), padding below and to the right with zeros."""
    (B, H, W, C), (h, w) = x.shape, window
    rows, columns = windows_over((H, W), window)
    padded = x
    if decide(rows * h != H) or decide(columns * w != W):
        padded = tape.pad("pad", x, B, rows * h, columns * w, C)
    # (B, rows, h, columns, w, C) -> (B, rows, columns, h, w, C)
    cut = padded.view(B, rows, h, columns, w, C).permute(0, 1, 3, 2, 4, 5)
    windows = tape.contiguous("window_partition", cut)
    if padded is not x:
        tape.free(padded, keep=windows)
    return windows.view(B * rows * columns, h, w, C)


def window_unpartition(tape: Tape, windows: Tensor, window: Pair, grid: Shape) -> Tensor:
    """Join (B * windows, h, w, C) to (B, H, W, C), dropping the padding."""
    (h, w), (H, W), C = window, grid, windows.shape[-1]
    rows, columns = windows_over(grid, window)
    B = windows.shape[0] // (rows * columns)
    # (B, rows, columns, h, w, C) -> (B, rows, h, columns, w, C)
    cut = windows.view(B, rows, columns, h, w, C).permute(0, 1, 3, 2, 4, 5)
    joined = tape.contiguous("window_unpartition", cut).view(B, rows * h, columns * w, C)
    if not (decide(rows * h != H) or decide(columns * w != W)):
        return joined
    out = tape.contiguous("crop", joined.narrow((B, H, W, C)))
    if joined.storage is not windows.storage:
        tape.free(joined, keep=out)
    return out


def add_decomposed_rel_pos(tape: Tape, scores: Tensor, q: Tensor, size: Shape) -> Tensor:
    """Scores plus q.Rh plus q.Rw (MViTv2, equation 5): (N, HW, HW) -> the same."""
    (N, _, d), (H, W) = q.shape, size
    Rh = relative_positions(tape, "rel_pos_h", H, d)  # (H, H, d)
    Rw = relative_positions(tape, "rel_pos_w", W, d)  # (W, W, d)
    grid_q = tape.reshape("rel_q", q, N, H, W, d)
    # (H, N*W, d) @ (H, d, H) -> (N, H, W, H)
    by_row = tape.reshape("rel_h_q", grid_q.permute(1, 0, 2, 3), H, N * W, d)
    rel_h = tape.matmul("rel_h", by_row, Rh.permute(0, 2, 1)).view(H, N, W, H).permute(1, 0, 2, 3)
    tape.free(by_row, keep=q)
    # (W, N*H, d) @ (W, d, W) -> (N, H, W, W)
    by_column = tape.reshape("rel_w_q", grid_q.permute(2, 0, 1, 3), W, N * H, d)
    rel_w = tape.matmul("rel_w", by_column, Rw.permute(0, 2, 1)).view(W, N, H, W).permute(1, 2, 0, 3)
    tape.free(by_column, keep=q)
    with_rows = tape.add("add_rel_h", scores.view(N, H, W, H, W), rel_h.view(N, H, W, H, 1))
    out = tape.add("add_rel_w", with_rows, rel_w.view(N, H, W, 1, W))
    tape.free(with_rows, Rh, Rw, rel_h, rel_w)
    return out.view(N, H * W, H * W)


def add_joint_rel_pos(tape: Tape, scores: Tensor, q: Tensor, size: Shape) -> Tensor:
    """Scores plus q.R, R one vector per relative position in the plane: (N, HW, HW) -> the same."""
    (_, _, d), (H, W) = q.shape, size
    table = tape.parameter("rel_pos_hw", 2 * H - 1, 2 * W - 1, d)
    rows, columns = relative_index(tape, "rows", H), relative_index(tape, "columns", W)
    R = tape.gather("rel_pos_hw", table, (rows, columns), H, W, H, W, d).view(H * W, H * W, d)
    tape.free(rows, columns)
    # (HW, N, d) @ (HW, d, HW) -> (N, HW, HW)
    rel = tape.matmul("rel_hw", q.permute(1, 0, 2), R.permute(0, 2, 1))
    out = tape.add("add_rel_hw", scores, rel.permute(1, 0, 2))
    tape.free(R, rel)
    return out


def relative_positions(tape: Tape, name: str, size: int, d: int) -> Tensor:
    """The rows of a table for each pair of a query and a key position: (size, size, d)."""
    table = tape.parameter(name, 2 * size - 1, d)
    index = relative_index(tape, f"{name}.index", size)
    R = tape.gather(name, table, (index,), size, size, d)
    tape.free(index)
    return R


def relative_index(tape: Tape, name: str, size: int) -> Tensor:
    """Indexes q - k + size - 1, for each pair: (size, size)."""
    at = tape.integers(f"{name}.arange", size)
    offset = tape.integers(f"{name}.offset", size, size, reads=(at, at))
    index = tape.integers(name, size, size, reads=(offset,))
    tape.free(offset, at)
    return index


REL_POS = {"decomposed": add_decomposed_rel_pos, "joint": add_joint_rel_pos}
