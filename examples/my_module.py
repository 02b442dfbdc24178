"""A small encoder in plain PyTorch, with windows in all blocks but the last: `samattn trace examples.my_module:Encoder`."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Attention(nn.Module):
    """Self-attention over the tokens of each row of a batch: (B, N, C) to (B, N, C)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """From (B, N, C) to (B, N, C)."""
        B, N, C = x.shape
        q, k, v = self.qkv(x).view(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, C))


class Block(nn.Module):
    """A transformer block; `window` is a side in tokens, or 0 for global attention."""

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim, num_heads)
        self.norm2, self.mlp = (
            nn.LayerNorm(dim),
            nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """From (B, H, W, C) to (B, H, W, C)."""
        B, H, W, C = x.shape
        w = self.window or H
        y = self.norm1(x).view(B, H // w, w, W // w, w, C).transpose(2, 3).reshape(-1, w * w, C)
        y = self.attn(y).view(B, H // w, W // w, w, w, C).transpose(2, 3).reshape(B, H, W, C)
        x = x + y
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """Patches of 16, then blocks."""

    def __init__(self, dim: int = 384, depth: int = 6, num_heads: int = 6, window: int = 8) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, 16, 16)
        self.pos_embed = nn.Parameter(torch.zeros(1, 32, 32, dim))
        self.blocks = nn.ModuleList(Block(dim, num_heads, window) for _ in range(depth - 1))
        self.blocks.append(Block(dim, num_heads, 0))

    def forward(self, image: Tensor) -> Tensor:
        """From (B, 3, 512, 512) to (B, 32, 32, C)."""
        x = self.patch_embed(image).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return x
