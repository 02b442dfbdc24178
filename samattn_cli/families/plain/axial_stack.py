"""Vision transformers with axial rotary positions: those of timm's EVA, of rope-vit and of the Perception Encoder.

Sources: rope-vit (arXiv:2403.13298), EVA-02 (arXiv:2303.11331) and the Perception Encoder (arXiv:2504.13181) as timm 1.0.31 has
them, models/eva.py and layers/pos_embed_sincos.py. There cosines and sines are one buffer of the model; here each block computes
them. Shapes: B batch, R tokens in front, N = R + HW, C width, h heads, d = C / h.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ...encoder.plan import LayerConfig
from ...stack.rotary import rotate, rotations
from .axial import AXIAL, OF_EVA02, Angles
from .mlps_stack import NormedSwiGlu
from .rotary_stack import Attention as OfDinov3
from .rotary_stack import Block
from .tokens_stack import InFront


class Attention(OfDinov3):
    """Multi-head self-attention whose queries and keys of patches are rotated by their row and column."""

    def __init__(self, layer: LayerConfig, kernel: str, angles: Angles) -> None:
        super().__init__(layer, kernel)
        stage, self.grid, self.in_front = layer.stage, layer.grid, layer.extra_tokens
        if angles.all_biases:
            self.q_bias = self.v_bias = None
            self.qkv = nn.Linear(stage.embed_dim, 3 * stage.embed_dim, bias=stage.qkv_bias)
        self.made = partial(
            rotations,
            self.grid,
            angles.steps(self.grid),
            stage.embed_dim // stage.num_heads,
            rows_first=angles.rows_first,
            theta=angles.theta,
            first=angles.first(layer),
        )

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(B, N, C) -> (B, N, C)."""
        cos, sin = self.made(x.device)
        return super().forward(x, cos, sin)

    def rotated(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Queries or keys (B, h, N, d), those of patches rotated."""
        if not self.in_front:
            return rotate(x, cos, sin)
        front, patches = x[:, :, : self.in_front], x[:, :, self.in_front :]
        return torch.cat((front, rotate(patches, cos, sin)), dim=2)


class AttentionOfEva02(Attention):
    """With a projection each for queries, keys and values, of which that of keys has no bias."""

    def __init__(self, layer: LayerConfig, kernel: str, angles: Angles) -> None:
        super().__init__(layer, kernel, angles)
        dim, bias = layer.stage.embed_dim, layer.stage.qkv_bias
        del self.qkv, self.q_bias, self.v_bias, self.proj
        self.q_proj = nn.Linear(dim, dim, bias=bias)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=bias)
        self.norm = nn.LayerNorm(dim, eps=angles.eps) if layer.stage.block == "eva02_clip" else None
        self.proj = nn.Linear(dim, dim)

    def inner(self, x: Tensor) -> Tensor:
        """The norm of EVA-02's CLIP: (B, N, C) -> the same."""
        return x if self.norm is None else self.norm(x)

    def projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, N, C) -> queries, keys and values (B, h, N, d)."""
        made = (layer(x) for layer in (self.q_proj, self.k_proj, self.v_proj))
        return tuple(each.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for each in made)


def block(layer: LayerConfig, kernel: str, angles: Angles) -> Block:
    """A block with such attention."""
    of_eva02 = layer.stage.block in OF_EVA02
    attn = (AttentionOfEva02 if of_eva02 else Attention)(layer, kernel, angles)
    return Block(layer, kernel, attn=attn, eps=angles.eps, mlp=NormedSwiGlu if of_eva02 else None)


class Prefix(InFront):
    """Puts the class token and the registers in front of the patches, without positions."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, R + HW, C)."""
        return torch.cat((*self.in_front(x.shape[0]), x.flatten(1, 2)), dim=1)


BLOCKS = {word: partial(block, angles=angles) for word, angles in AXIAL.items()}
POS_EMBEDS = {"prefix": Prefix}
