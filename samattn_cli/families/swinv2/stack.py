"""Swin Transformer V2: cosine attention, biases from an MLP on relative positions, norms after attention and MLP.

Source: arXiv:2111.09883 and microsoft/Swin-Transformer, models/swin_transformer_v2.py. Names, operations and lifetimes of
tensors are those of that code. One difference: the bound of the logit scale is a tensor on the host there, and a number here,
as in transformers. Padding is as in `swin`. The table of offsets is scaled by the window itself; the window of a pretraining
would change its values only. Shapes: as in `swin`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.keys import Size
from ...encoder.plan import LayerConfig, PartConfig
from ...stack.by_cpu import made_by_cpu
from ...stack.windows import add_mask, crop, padded
from ..swin.stack import NORM_EPS, ShiftedWindows, quarters_of, relative_position_index

BIAS_HIDDEN = 512
MOST_LOGIT_SCALE = math.log(100)
MOST_BIAS = 16
LOG_SPACE = 8  # offsets are scaled to -8 ... 8 before their logarithm to base 8


class Block(ShiftedWindows):
    """Swin V2's block: attention, norm, shortcut; MLP, norm, shortcut."""

    def __init__(self, layer: LayerConfig, _kernel: str = "eager") -> None:
        super().__init__(layer, WindowAttention(layer))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        shortcut = x
        x = padded(x, self.window_size)
        x, kept = self.attend(x)
        x = crop(x, self.grid)
        x = shortcut + self.norm1(x)
        x = x + self.norm2(self.mlp(x))
        del kept
        return x


class WindowAttention(nn.Module):
    """Multi-head attention by the cosine of queries and keys, scaled per head, over windows of N tokens."""

    relative_coords_table: Tensor
    relative_position_index: Tensor

    def __init__(self, layer: LayerConfig) -> None:
        super().__init__()
        stage = layer.stage
        dim, self.num_heads = stage.embed_dim, stage.num_heads
        size = layer.windows.size
        self.logit_scale = nn.Parameter(torch.full((self.num_heads, 1, 1), math.log(10)))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, BIAS_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(BIAS_HIDDEN, self.num_heads, bias=False),
        )
        coords = made_by_cpu(relative_coords_table, size)
        self.register_buffer("relative_coords_table", coords, persistent=False)
        index = made_by_cpu(relative_position_index, size)
        self.register_buffer("relative_position_index", index, persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=stage.zeroed_key_bias)
        has_two = stage.qkv_bias and not stage.zeroed_key_bias
        self.q_bias = nn.Parameter(torch.zeros(dim)) if has_two else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if has_two else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(M, N, C), and the mask of shifted windows (windows, N, N), to (M, N, C)."""
        M, N, C = x.shape
        qkv_bias = self._qkv_bias()
        # (M, N, 3C) -> (M, N, 3, h, d) -> (3, M, h, N, d)
        qkv = (
            F.linear(x, self.qkv.weight, qkv_bias).reshape(M, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        )
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)  # (M, h, N, N)
        logit_scale = torch.clamp(self.logit_scale, max=MOST_LOGIT_SCALE).exp()
        attn = attn * logit_scale
        table = self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads)
        bias = self._bias(table)
        attn = attn + bias.unsqueeze(0)
        if mask is not None:
            attn = add_mask(attn, mask)
        attn = attn.softmax(dim=-1)
        x = (attn @ v).transpose(1, 2).reshape(M, N, C)
        return self.proj(x)

    def _qkv_bias(self) -> Tensor | None:
        """The bias of queries, keys (zeros) and values: (3C,)."""
        if self.qkv.bias is not None:
            return self._without_keys(self.qkv.bias)
        if self.q_bias is None or self.v_bias is None:
            return None
        return torch.cat((self.q_bias, torch.zeros_like(self.v_bias, requires_grad=False), self.v_bias))

    @staticmethod
    def _without_keys(bias: Tensor) -> Tensor:
        """A copy of the bias (3C,) with zeros for keys. Source: torchvision, `shifted_window_attention`."""
        bias, C = bias.clone(), bias.numel() // 3
        bias[C : 2 * C].zero_()
        return bias

    def _bias(self, table: Tensor) -> Tensor:
        """The bias of the scores of a window: (h, N, N)."""
        index = self.relative_position_index
        bias = table[index.view(-1)].view(*index.shape, -1)
        bias = bias.permute(2, 0, 1).contiguous()
        return MOST_BIAS * torch.sigmoid(bias)


def relative_coords_table(size: Size) -> Tensor:
    """Offsets of a query from a key, (down, right), on a logarithmic scale: (1, 2h - 1, 2w - 1, 2)."""
    sides = [torch.arange(1 - side, side, dtype=torch.float32) / max(side - 1, 1) for side in size]
    table = LOG_SPACE * torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1)[None]
    return torch.sign(table) * torch.log2(table.abs() + 1) / math.log2(LOG_SPACE)


class PatchMerging(nn.Module):
    """Merges each 2x2 tokens into one: a linear layer, then norm. An odd row or column is padded."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * part.entering.dim, part.leaving.dim, bias=False)
        self.norm = nn.LayerNorm(part.leaving.dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / 2, W / 2, C')."""
        quarters = quarters_of(padded(x, (2, 2)))  # kept until the end, as in Microsoft's forward
        return self.norm(self.reduction(torch.cat(quarters, -1)))


BLOCKS = {"swinv2": Block}
TRANSITIONS = {"patch_merging_v2": PatchMerging}
