"""DINOv3's rotary positions: the blocks rotate queries and keys of patches by angles that the tokens come with.

Sources: DINOv3 (arXiv:2508.10104) as transformers 5.23.0 has it, models/dinov3_vit/modeling_dinov3_vit.py, which computes cosines
and sines once for all blocks; timm, models/eva.py, for names and the packed projection with biases of queries and values.
Angles are computed on the CPU. Shapes: B batch, R tokens in front, N = R + HW, C width, h heads, d = C / h.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.keys import Pair
from ...encoder.plan import LayerConfig, PartConfig
from .layer_scale_stack import LayerScale
from .mlps_stack import MLPS, MakesMlp
from .tokens_stack import InFront

THETA = 100.0
EPS = 1e-5


class RotaryTokens(InFront):
    """Puts the class token and the registers in front, without positions, and makes the cosines and sines of patches."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part)
        stage = part.config.stages[0]
        self.head_dim = stage.embed_dim // stage.num_heads

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, C) -> (B, R + HW, C), cosines and sines (HW, d)."""
        size = x.shape[1], x.shape[2]
        tokens = torch.cat((*self.in_front(x.shape[0]), x.flatten(1, 2)), dim=1)
        angles = angles_of(size, self.head_dim).to(x.device)
        dtype = next(self.parameters()).dtype
        return tokens, angles.cos().to(dtype), angles.sin().to(dtype)


def angles_of(size: Pair, head_dim: int) -> Tensor:
    """The angles of H x W patches, whose centers are from -1 to 1 along each axis: (HW, d) in float32."""
    rows, columns = ((torch.arange(side) + 0.5) / side for side in size)
    centers = 2 * torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1) - 1
    frequencies = 1 / THETA ** torch.arange(0, 1, 4 / head_dim)
    angles = 2 * math.pi * centers[:, :, None] * frequencies  # (HW, 2, d / 4)
    return angles.flatten(1, 2).tile(2)


class Block(nn.Module):
    """Pre-norm block: attention with rotary positions over all tokens, then an MLP, each scaled, with its shortcut.

    Args:
        layer: its config.
        kernel: "eager", "sdpa" or "fused", which is sdpa since there are no relative positions.
        attn: the attention; by default DINOv3's.
        eps: of the norms.
        mlp: makes the MLP; by default that of the stage.
    """

    def __init__(
        self,
        layer: LayerConfig,
        kernel: str,
        *,
        attn: nn.Module | None = None,
        eps: float = EPS,
        mlp: MakesMlp | None = None,
    ) -> None:
        super().__init__()
        stage = layer.stage
        self.norm1 = nn.LayerNorm(stage.embed_dim, eps=eps)
        self.attn = attn or Attention(layer, kernel)
        self.ls1 = LayerScale(stage.embed_dim) if stage.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(stage.embed_dim, eps=eps)
        self.mlp = (mlp or MLPS[stage.mlp])(stage.embed_dim, stage.mlp_dim)
        self.ls2 = LayerScale(stage.embed_dim) if stage.layer_scale else nn.Identity()

    def forward(self, x: Tensor, *positions: Tensor) -> Tensor:
        """(B, N, C) with the cosines and sines (HW, d) that its attention takes -> (B, N, C)."""
        x = x + self.ls1(self.attn(self.norm1(x), *positions))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Attention(nn.Module):
    """Multi-head self-attention with one projection, which has biases of queries and values."""

    def __init__(self, layer: LayerConfig, kernel: str) -> None:
        super().__init__()
        stage = layer.stage
        dim, self.num_heads, self.kernel = stage.embed_dim, stage.num_heads, kernel
        self.scale = (dim // stage.num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim)) if stage.qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if stage.qkv_bias else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, N, C) with positions (HW, d) -> (B, N, C)."""
        B, N, C = x.shape
        q, k, v = self.projected(x)
        q, k = self.rotated(q, cos, sin), self.rotated(k, cos, sin)
        if self.kernel == "eager":
            q = q * self.scale
            attn = q @ k.transpose(-2, -1)  # (B, h, N, N)
            attn = attn.softmax(dim=-1)
            x = attn @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        x = x.transpose(1, 2).reshape(B, N, C)
        x = self.inner(x)
        return self.proj(x)

    def inner(self, x: Tensor) -> Tensor:
        """What is done to the attended values before they are projected: (B, N, C) -> the same."""
        return x

    def rotated(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Queries or keys (B, h, N, d), those of patches rotated."""
        return rotated(x, cos, sin)

    def projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, N, C) -> queries, keys and values (B, h, N, d)."""
        B, N, _ = x.shape
        qkv = self._packed(x)  # (B, N, 3C) -> (3, B, h, N, d)
        return qkv.reshape(B, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def _packed(self, x: Tensor) -> Tensor:
        if self.q_bias is None or self.v_bias is None:
            return self.qkv(x)
        zeros = torch.zeros_like(self.v_bias, requires_grad=False)
        return F.linear(x, self.qkv.weight, torch.cat((self.q_bias, zeros, self.v_bias)))


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys (B, h, N, d), those of the last HW tokens rotated."""
    HW = cos.shape[0]
    in_front, patches = x.split((x.shape[2] - HW, HW), dim=2)
    patches = (patches * cos + rotate_half(patches) * sin).type_as(x)
    return torch.cat((in_front, patches), dim=2)


def rotate_half(x: Tensor) -> Tensor:
    """The halves (a, b) of the channels as (-b, a)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)
