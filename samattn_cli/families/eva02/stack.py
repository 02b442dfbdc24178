"""EVA-02's blocks for detection: ViTDet's windows and global blocks with rotary positions, SwiGLU with a norm in it.

Source: EVA-02 (arXiv:2303.11331) and its code, EVA-02/det/detectron2/modeling/backbone/vit.py and utils.py. Names, projections
and epsilons are theirs. One thing differs: cosines and sines, which are four buffers there, are computed in each block, as in SAM
3's. Shapes: B batch, H x W grid, C width, h heads, d = C / h.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.plan import LayerConfig
from ...stack.norms import NORM_EPS
from ...stack.rotary import rotate, rotations
from ..vit.stack import WindowedBlock
from .words import PRETRAINED_SIDE


class Block(WindowedBlock):
    """ViTDet's block with EVA-02's attention and MLP."""

    def __init__(self, layer: LayerConfig, kernel: str = "eager") -> None:
        super().__init__(layer, Attention(layer, kernel), SwiGlu(layer.stage.embed_dim, layer.stage.mlp_dim))


class Attention(nn.Module):
    """Multi-head self-attention over H x W tokens with rotary positions; keys have no bias."""

    def __init__(self, layer: LayerConfig, kernel: str) -> None:
        super().__init__()
        stage, self.kernel = layer.stage, kernel
        dim, self.num_heads = stage.embed_dim, stage.num_heads
        self.size = layer.windows.size
        self.step = PRETRAINED_SIDE / self.size[0], PRETRAINED_SIDE / self.size[1]
        self.scale = (dim // stage.num_heads) ** -0.5
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim)) if stage.qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if stage.qkv_bias else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        B, H, W, _ = x.shape
        q = self._heads(_linear(x, self.q_proj, self.q_bias))
        k = self._heads(self.k_proj(x))
        v = self._heads(_linear(x, self.v_proj, self.v_bias))
        cos, sin = rotations(self.size, self.step, q.shape[-1], x.device, rows_first=True)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        out = self._attend(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(B, H, W, -1))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, h, HW, d)."""
        return x.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, h, HW, d), each -> (B, h, HW, d)."""
        if self.kernel != "eager":
            return F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        scores = (q * self.scale) @ k.transpose(-2, -1)  # (B, h, HW, HW)
        scores = scores.softmax(dim=-1)
        return scores @ v


def _linear(x: Tensor, layer: nn.Linear, bias: Tensor | None) -> Tensor:
    """The layer, which has no bias of its own, with a bias of the attention: (..., C) -> (..., C)."""
    return layer(x) if bias is None else F.linear(x, layer.weight, bias)


class SwiGlu(nn.Module):
    """SiLU of one linear layer gates another; a norm, then the last layer."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim)
        self.w2 = nn.Linear(dim, hidden_dim)
        self.act = nn.SiLU()
        self.ffn_ln = nn.LayerNorm(hidden_dim, eps=NORM_EPS)
        self.w3 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        gate = self.w1(x)
        up = self.w2(x)
        hidden = self.act(gate) * up
        x = self.ffn_ln(hidden)
        return self.w3(x)


BLOCKS = {"eva02_vit": Block}
