"""SAM's transformer block: windowed or global attention with relative positions, then an MLP.

Source: Segment Anything (arXiv:2304.02643) and its code, modeling/image_encoder.py; the relative positions are those
of MViTv2 (arXiv:2112.01526). Parameter names, values and the lifetimes of tensors equal the released code's, so that
checkpoints load and memory is that of the code people run. Shapes: B batch, H x W grid, C width, h heads, d = C / h.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config.keys import Pair
from ..config.model import LayerConfig

NORM_EPS = 1e-6


class Block(nn.Module):
    """Pre-norm block: attention over windows (or the whole grid), then an MLP, each with its shortcut."""

    def __init__(self, layer: LayerConfig, grid: Pair) -> None:
        super().__init__()
        stage = layer.stage
        self.window_size = layer.window_size
        self.norm1 = nn.LayerNorm(stage.embed_dim, eps=NORM_EPS)
        self.attn = Attention(
            stage.embed_dim,
            stage.num_heads,
            qkv_bias=stage.qkv_bias,
            rel_pos=stage.rel_pos,
            size=grid if layer.is_global else layer.window_size,
        )
        self.norm2 = nn.LayerNorm(stage.embed_dim, eps=NORM_EPS)
        self.mlp = MLP(stage.embed_dim, stage.mlp_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        shortcut = x
        x = self.norm1(x)
        windowed = self.window_size != (0, 0)
        grid = (x.shape[1], x.shape[2])
        if windowed:
            x = window_partition(x, self.window_size)
        x = self.attn(x)
        if windowed:
            x = window_unpartition(x, self.window_size, grid)
        x = shortcut + x
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Multi-head self-attention over H x W tokens with relative positions, as eager PyTorch.

    Args:
        dim: width C.
        num_heads: heads h.
        qkv_bias: whether the qkv projection has a bias.
        rel_pos: "none", "decomposed" or "joint".
        size: (height, width) that the relative-position tables are made for; other sizes interpolate them.
    """

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool, rel_pos: str, size: Pair) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = dim // num_heads
        self.scale = head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos = rel_pos
        height, width = (2 * side - 1 for side in size)
        if rel_pos == "decomposed":
            self.rel_pos_h = nn.Parameter(torch.zeros(height, head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(width, head_dim))
        elif rel_pos == "joint":
            self.rel_pos_hw = nn.Parameter(torch.zeros(height, width, head_dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        B, H, W, _ = x.shape
        # (B, H, W, 3C) -> (B, HW, 3, h, d) -> (3, B, h, HW, d)
        qkv = self.qkv(x).reshape(B, H * W, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        # to three of (B*h, HW, d)
        q, k, v = qkv.reshape(3, B * self.num_heads, H * W, -1).unbind(0)
        attn = (q * self.scale) @ k.transpose(-2, -1)  # (B*h, HW, HW)
        if self.rel_pos == "decomposed":
            attn = add_decomposed_rel_pos(attn, q, self.rel_pos_h, self.rel_pos_w, (H, W))
        elif self.rel_pos == "joint":
            attn = add_joint_rel_pos(attn, q, self.rel_pos_hw, (H, W))
        attn = attn.softmax(dim=-1)
        # (B*h, HW, d) -> (B, h, H, W, d) -> (B, H, W, C)
        x = (attn @ v).view(B, self.num_heads, H, W, -1).permute(0, 2, 3, 1, 4).reshape(B, H, W, -1)
        return self.proj(x)


class MLP(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden_dim)
        self.lin2 = nn.Linear(hidden_dim, dim)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.lin2(self.act(self.lin1(x)))


def window_partition(x: Tensor, window: Pair) -> Tensor:
    """Cut (B, H, W, C) into (B * windows, h, w, C), padding below and to the right with zeros.

    The padding comes after norm1: padded tokens take part in the softmax, unmasked.
    """
    B, H, W, C = x.shape
    h, w = window
    rest_h, rest_w = -H % h, -W % w
    if rest_h or rest_w:
        x = F.pad(x, (0, 0, 0, rest_w, 0, rest_h))
    # (B, rows, h, columns, w, C) -> (B, rows, columns, h, w, C)
    x = x.view(B, (H + rest_h) // h, h, (W + rest_w) // w, w, C)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, h, w, C)


def window_unpartition(windows: Tensor, window: Pair, grid: Pair) -> Tensor:
    """Join (B * windows, h, w, C) to (B, H, W, C), dropping the padding."""
    (h, w), (H, W) = window, grid
    rows, columns = -(-H // h), -(-W // w)
    B = windows.shape[0] // (rows * columns)
    # (B, rows, columns, h, w, C) -> (B, rows, h, columns, w, C)
    x = windows.view(B, rows, columns, h, w, -1).permute(0, 1, 3, 2, 4, 5)
    x = x.contiguous().view(B, rows * h, columns * w, -1)
    if rows * h > H or columns * w > W:
        x = x[:, :H, :W].contiguous()
    return x


def add_decomposed_rel_pos(attn: Tensor, q: Tensor, table_h: Tensor, table_w: Tensor, size: Pair) -> Tensor:
    """Add q.Rh + q.Rw to the scores (MViTv2, equation 5).

    Args:
        attn: scores (N, H*W, H*W), N = B*h.
        q: queries (N, H*W, d), unscaled.
        table_h: (2H-1, d), or another length to interpolate.
        table_w: (2W-1, d), likewise.
        size: (H, W).
    """
    H, W = size
    Rh = relative_positions(resize_table(table_h, 2 * H - 1), H)  # (H, H, d)
    Rw = relative_positions(resize_table(table_w, 2 * W - 1), W)  # (W, W, d)
    N, _, d = q.shape
    grid_q = q.reshape(N, H, W, d)
    # (H, N*W, d) @ (H, d, H) -> (N, H, W, H): one product a row, over all that share it
    rel_h = torch.bmm(grid_q.permute(1, 0, 2, 3).reshape(H, N * W, d), Rh.transpose(1, 2))
    rel_h = rel_h.view(H, N, W, H).permute(1, 0, 2, 3)
    # (W, N*H, d) @ (W, d, W) -> (N, H, W, W)
    rel_w = torch.bmm(grid_q.permute(2, 0, 1, 3).reshape(W, N * H, d), Rw.transpose(1, 2))
    rel_w = rel_w.view(W, N, H, W).permute(1, 2, 0, 3)
    scores = attn.view(N, H, W, H, W) + rel_h[:, :, :, :, None] + rel_w[:, :, :, None, :]
    return scores.view(N, H * W, H * W)


def add_joint_rel_pos(attn: Tensor, q: Tensor, table: Tensor, size: Pair) -> Tensor:
    """Add q.R to the scores, R one vector per relative position in the plane (Shaw et al., arXiv:1803.02155).

    Args:
        attn: scores (N, H*W, H*W), N = B*h.
        q: queries (N, H*W, d), unscaled.
        table: (2H-1, 2W-1, d), or another size to interpolate.
        size: (H, W).
    """
    H, W = size
    R = joint_relative_positions(resize_plane(table, (2 * H - 1, 2 * W - 1)), size)  # (H*W, H*W, d)
    # (H*W, N, d) @ (H*W, d, H*W) -> (N, H*W, H*W): one product a query position
    rel = torch.bmm(q.transpose(0, 1), R.transpose(1, 2)).transpose(0, 1)
    return attn + rel


def relative_positions(table: Tensor, size: int) -> Tensor:
    """(2*size-1, d) -> (size, size, d): entry [q, k] is the row for q - k."""
    return table[relative_index(size, table.device)]


def joint_relative_positions(table: Tensor, size: Pair) -> Tensor:
    """(2H-1, 2W-1, d) -> (H*W, H*W, d): entry [q, k] is the one for the offset of q from k in the plane."""
    H, W = size
    rows = relative_index(H, table.device)[:, None, :, None]
    columns = relative_index(W, table.device)[None, :, None, :]
    return table[rows, columns].view(H * W, H * W, -1)


def relative_index(size: int, device: torch.device) -> Tensor:
    """(size, size): q - k + size - 1."""
    at = torch.arange(size, device=device)
    return at[:, None] - at[None, :] + (size - 1)


def resize_table(table: Tensor, length: int) -> Tensor:
    """(L, d) -> (length, d), linearly, as ViTDet does for a grid that the table was not made for."""
    if table.shape[0] == length:
        return table
    return F.interpolate(table.T[None], size=length, mode="linear")[0].T


def resize_plane(table: Tensor, size: Pair) -> Tensor:
    """(L, M, d) -> (*size, d), bilinearly: `resize_table` along both axes."""
    if table.shape[:2] == size:
        return table
    return F.interpolate(table.permute(2, 0, 1)[None], size=size, mode="bilinear")[0].permute(1, 2, 0)
