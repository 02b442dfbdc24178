"""Video Swin Transformer's own encoder, without its registry and its dropouts, which do nothing in evaluation mode.

Source: SwinTransformer/Video-Swin-Transformer at db018fb (Apache 2.0), mmaction/models/backbones/swin_transformer.py: get_window_size,
compute_mask, WindowAttention3D, SwinTransformerBlock3D, PatchMerging, BasicLayer, PatchEmbed3D, SwinTransformer3D.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Sides = tuple[int, ...]


def window_partition(x: Tensor, size: Sides) -> Tensor:
    B, D, H, W, C = x.shape
    x = x.view(B, D // size[0], size[0], H // size[1], size[1], W // size[2], size[2], C)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).contiguous().view(-1, prod(size), C)


def window_reverse(windows: Tensor, size: Sides, B: int, D: int, H: int, W: int) -> Tensor:
    x = windows.view(B, D // size[0], H // size[1], W // size[2], size[0], size[1], size[2], -1)
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).contiguous().view(B, D, H, W, -1)


def get_window_size(x_size: Sides, window_size: Sides, shift_size: Sides) -> tuple[Sides, Sides]:
    use_window_size, use_shift_size = list(window_size), list(shift_size)
    for i in range(len(x_size)):
        if x_size[i] <= window_size[i]:
            use_window_size[i] = x_size[i]
            use_shift_size[i] = 0
    return tuple(use_window_size), tuple(use_shift_size)


def compute_mask(D: int, H: int, W: int, window_size: Sides, shift_size: Sides) -> Tensor:
    img_mask = torch.zeros((1, D, H, W, 1))
    cnt = 0
    for d in slice(-window_size[0]), slice(-window_size[0], -shift_size[0]), slice(-shift_size[0], None):
        for h in slice(-window_size[1]), slice(-window_size[1], -shift_size[1]), slice(-shift_size[1], None):
            for w in (
                slice(-window_size[2]),
                slice(-window_size[2], -shift_size[2]),
                slice(-shift_size[2], None),
            ):
                img_mask[:, d, h, w, :] = cnt
                cnt += 1
    mask_windows = window_partition(img_mask, window_size).squeeze(-1)
    attn_mask = mask_windows.unsqueeze(1) - mask_windows.unsqueeze(2)
    return attn_mask.masked_fill(attn_mask != 0, -100.0).masked_fill(attn_mask == 0, 0.0)


class WindowAttention3D(nn.Module):
    def __init__(self, dim: int, window_size: Sides, num_heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.window_size, self.num_heads = window_size, num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros(
                (2 * window_size[0] - 1) * (2 * window_size[1] - 1) * (2 * window_size[2] - 1), num_heads
            )
        )
        coords = torch.stack(torch.meshgrid(*(torch.arange(window_size[i]) for i in range(3)), indexing="ij"))
        coords_flatten = torch.flatten(coords, 1)
        relative_coords = coords_flatten[:, :, None] - coords_flatten[:, None, :]
        relative_coords = relative_coords.permute(1, 2, 0).contiguous()
        relative_coords[:, :, 0] += window_size[0] - 1
        relative_coords[:, :, 1] += window_size[1] - 1
        relative_coords[:, :, 2] += window_size[2] - 1
        relative_coords[:, :, 0] *= (2 * window_size[1] - 1) * (2 * window_size[2] - 1)
        relative_coords[:, :, 1] *= 2 * window_size[2] - 1
        self.register_buffer("relative_position_index", relative_coords.sum(-1), persistent=False)
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        B_, N, C = x.shape
        qkv = self.qkv(x).reshape(B_, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        q = q * self.scale
        attn = q @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index[:N, :N].reshape(-1)]
        bias = bias.reshape(N, N, -1).permute(2, 0, 1).contiguous()
        attn = attn + bias.unsqueeze(0)
        if mask is not None:
            nW = mask.shape[0]
            attn = attn.view(B_ // nW, nW, self.num_heads, N, N) + mask.unsqueeze(1).unsqueeze(0)
            attn = attn.view(-1, self.num_heads, N, N)
        attn = attn.softmax(-1)
        x = (attn @ v).transpose(1, 2).reshape(B_, N, C)
        return self.proj(x)


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class SwinTransformerBlock3D(nn.Module):
    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: Sides,
        shift_size: Sides,
        mlp_ratio: float,
        *,
        qkv_bias: bool,
    ) -> None:
        super().__init__()
        self.window_size, self.shift_size = window_size, shift_size
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention3D(dim, window_size, num_heads, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward_part1(self, x: Tensor, mask_matrix: Tensor) -> Tensor:
        B, D, H, W, C = x.shape
        window_size, shift_size = get_window_size((D, H, W), self.window_size, self.shift_size)
        x = self.norm1(x)
        pad_d1 = (window_size[0] - D % window_size[0]) % window_size[0]
        pad_b = (window_size[1] - H % window_size[1]) % window_size[1]
        pad_r = (window_size[2] - W % window_size[2]) % window_size[2]
        x = F.pad(x, (0, 0, 0, pad_r, 0, pad_b, 0, pad_d1))
        _, Dp, Hp, Wp, _ = x.shape
        attn_mask = None
        if any(i > 0 for i in shift_size):
            x = torch.roll(x, shifts=tuple(-by for by in shift_size), dims=(1, 2, 3))
            attn_mask = mask_matrix
        attn_windows = self.attn(window_partition(x, window_size), mask=attn_mask)
        x = window_reverse(attn_windows.view(-1, *window_size, C), window_size, B, Dp, Hp, Wp)
        if any(i > 0 for i in shift_size):
            x = torch.roll(x, shifts=shift_size, dims=(1, 2, 3))
        return x[:, :D, :H, :W, :].contiguous() if pad_d1 > 0 or pad_r > 0 or pad_b > 0 else x

    def forward(self, x: Tensor, mask_matrix: Tensor) -> Tensor:
        x = x + self.forward_part1(x, mask_matrix)
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * dim, 2 * dim, bias=False), nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        _, _, H, W, _ = x.shape
        if H % 2 == 1 or W % 2 == 1:
            x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))
        x0 = x[:, :, 0::2, 0::2, :]
        x1 = x[:, :, 1::2, 0::2, :]
        x2 = x[:, :, 0::2, 1::2, :]
        x3 = x[:, :, 1::2, 1::2, :]
        return self.reduction(self.norm(torch.cat([x0, x1, x2, x3], -1)))


class BasicLayer(nn.Module):
    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        window_size: Sides,
        *rest: float,
        last: bool,
        qkv_bias: bool,
    ) -> None:
        super().__init__()
        self.window_size, self.shift_size = window_size, tuple(i // 2 for i in window_size)
        shifts = [(0, 0, 0) if i % 2 == 0 else self.shift_size for i in range(depth)]
        self.blocks = nn.ModuleList(
            SwinTransformerBlock3D(dim, num_heads, window_size, shift, *rest, qkv_bias=qkv_bias)
            for shift in shifts
        )
        self.downsample = None if last else PatchMerging(dim)

    def forward(self, x: Tensor) -> Tensor:
        _, D, H, W, _ = x.shape
        window_size, shift_size = get_window_size((D, H, W), self.window_size, self.shift_size)
        padded = (-(-whole // side) * side for whole, side in zip((D, H, W), window_size, strict=True))
        attn_mask = compute_mask(*padded, window_size, shift_size)
        for blk in self.blocks:
            x = blk(x, attn_mask)
        return x if self.downsample is None else self.downsample(x)


class PatchEmbed3D(nn.Module):
    def __init__(self, patch_size: Sides, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv3d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        _, _, D, H, W = x.size()
        if W % self.patch_size[2] != 0:
            x = F.pad(x, (0, self.patch_size[2] - W % self.patch_size[2]))
        if H % self.patch_size[1] != 0:
            x = F.pad(x, (0, 0, 0, self.patch_size[1] - H % self.patch_size[1]))
        if D % self.patch_size[0] != 0:
            x = F.pad(x, (0, 0, 0, 0, 0, self.patch_size[0] - D % self.patch_size[0]))
        return self.norm(self.proj(x).permute(0, 2, 3, 4, 1))


class SwinTransformer3D(nn.Module):
    """It returns (B, D, H, W, C); the authors' puts the channels first again."""

    def __init__(
        self,
        patch_size: Sides,
        in_chans: int,
        embed_dim: int,
        depths: Sides,
        num_heads: Sides,
        window_size: Sides,
        mlp_ratio: float,
        *,
        qkv_bias: bool,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed3D(patch_size, in_chans, embed_dim)
        last = len(depths) - 1
        self.layers = nn.ModuleList(
            BasicLayer(
                embed_dim * 2**i, depth, heads, window_size, mlp_ratio, last=i == last, qkv_bias=qkv_bias
            )
            for i, (depth, heads) in enumerate(zip(depths, num_heads, strict=True))
        )
        self.norm = nn.LayerNorm(embed_dim * 2**last)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)
