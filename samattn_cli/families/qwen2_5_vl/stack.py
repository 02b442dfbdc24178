"""Qwen2.5-VL's vision encoder: packed sequences of any aspect ratio, windows without padding, a gated MLP.

Source: Qwen2.5-VL (arXiv:2502.13923) and transformers' models/qwen2_5_vl (Qwen2_5_VisionTransformerPretrainedModel). Names,
operations and lifetimes of tensors are those of that code: attention runs over one window after the other, like its "eager"
and "sdpa". The order of windows and the position of each token depend on the image's size only. They are computed on the host
and copied to the device once, which that code allows too (vision_utils, "precomputed"). There are three differences: the
cumulative lengths, a few numbers, are Python integers; the frequencies are computed with the positions; the tokens before the
merger, which that code returns too, are freed. Shapes: T tokens of all images, C width, h heads, d = C / h, n tokens of a
window.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.keys import Pair
from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...stack.norms import RMSNorm
from ...stack.rotary import THETA
from .words import FRAMES, MERGE, window_of

UNIT = MERGE**2
"""Tokens that stay together in every order."""


def windows(grid: Pair, size: Pair, merge: int = MERGE) -> list[Tensor]:
    """For each window of an image, the indices of its squares of `merge` x `merge` tokens, in row-major order of the image."""
    H, W = (side // merge for side in grid)
    h, w = (side // merge for side in size)
    places = torch.arange(H * W, device="cpu").view(H, W)
    return [window.flatten() for rows in places.split(h) for window in rows.split(w, dim=1)]


@lru_cache(maxsize=64)
def lengths_of(grid: Pair, size: Pair) -> tuple[int, ...]:
    """Tokens of each window of an image, in the order of `windows`."""
    with torch.device("cpu"):
        return tuple(UNIT * len(window) for window in windows(grid, size))


def positions(grid: Pair) -> Tensor:
    """Row and column of each token of an image, in the order of squares: (HW, 2)."""
    H, W = grid
    places = torch.arange(H * W, device="cpu").view(H // MERGE, MERGE, W // MERGE, MERGE)
    places = places.transpose(1, 2).flatten()
    return torch.stack([places // W, places % W], dim=-1)


class PatchEmbed(nn.Module):
    """Flattened patches of two frames to vectors, as a convolution without a bias."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        patch, channels = part.config.patch_size, part.config.in_chans
        kernel = (FRAMES, patch, patch)
        self.shape = (channels, *kernel)
        self.proj = nn.Conv3d(channels, part.leaving.dim, kernel_size=kernel, stride=kernel, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(T, in_chans * 2 * p * p) -> (T, C)."""
        return self.proj(x.view(-1, *self.shape)).view(len(x), -1)


class WindowOrder(nn.Module):
    """Reorders tokens by windows, and computes the rotary positions of a head in that order."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        config, stage = part.config, part.config.stages[0]
        self.grid, self.window_size = config.grid, window_of(config)
        self.images = config.run.batch_size
        self.head_dim = stage.embed_dim // stage.num_heads

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(T, C) -> the tokens in the order of windows, cosines and sines (T, d), and the order (T / 4)."""
        order = self._order().to(x.device)
        tokens = in_order(x, order)
        cos, sin = rotations(positions(self.grid).repeat(self.images, 1).to(x.device), self.head_dim)
        cos, sin = in_order(cos, order), in_order(sin, order)
        return tokens, cos, sin, order

    def _order(self) -> Tensor:
        """The order of the squares of all images: (T / 4)."""
        one = torch.cat(windows(self.grid, self.window_size))
        return torch.cat([one + image * len(one) for image in range(self.images)])


def in_order(x: Tensor, order: Tensor) -> Tensor:
    """Tokens (T, ...), by squares, in an order (T / 4)."""
    return x.reshape(len(order), UNIT, -1)[order, :, :].reshape(len(x), -1)


def rotations(position_ids: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles of T tokens, (T, 2) their rows and columns: (T, d) each, in float32."""
    spatial = head_dim // 2
    frequencies = 1.0 / (THETA ** (torch.arange(0, spatial, 2, dtype=torch.float, device="cpu") / spatial))
    angles = position_ids[..., None].float() * frequencies.to(position_ids.device)  # (T, 2, d / 4)
    return _spread(angles.cos()), _spread(angles.sin())


def _spread(of_axes: Tensor) -> Tensor:
    """Cosines or sines for rows and columns (T, 2, d / 4), repeated for both halves of a head: (T, d)."""
    both = torch.cat([of_axes[:, 0], of_axes[:, 1]], dim=-1)
    return torch.cat([both, both], dim=-1)


def rotate_half(x: Tensor) -> Tensor:
    """The halves (a, b) of the channels as (-b, a)."""
    a, b = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-b, a), dim=-1)


def turned(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys (T, h, d) rotated by their positions (T, d) in float32; the results have their type."""
    dtype = q.dtype
    q, k = q.float(), k.float()
    cos, sin = cos.unsqueeze(-2).float(), sin.unsqueeze(-2).float()
    turned_q = (q * cos) + (rotate_half(q) * sin)
    turned_k = (k * cos) + (rotate_half(k) * sin)
    turned_q = turned_q.to(dtype)
    turned_k = turned_k.to(dtype)
    return turned_q, turned_k


class Block(nn.Module):
    """Pre-norm block: attention over windows (or each image), then a gated MLP, each with its shortcut."""

    def __init__(self, layer: LayerConfig, kernel: str = "eager") -> None:
        super().__init__()
        stage = layer.stage
        self.norm1 = RMSNorm(stage.embed_dim)
        self.norm2 = RMSNorm(stage.embed_dim)
        self.attn = Attention(layer, kernel)
        self.mlp = MLP(stage)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, _order: Tensor) -> Tensor:
        """(T, C) with positions (T, d) -> (T, C)."""
        x = x + self.attn(self.norm1(x), cos, sin)
        return x + self.mlp(self.norm2(x))


class OneByOne(nn.Module):
    """Attention of one window after the other, then a projection.

    Args:
        stage: has the width and the heads.
        lengths: tokens of each window of an image.
        kernel: "eager" or "sdpa".
    """

    proj: nn.Linear

    def __init__(self, stage: StageConfig, lengths: tuple[int, ...], kernel: str) -> None:
        super().__init__()
        self.lengths, self.kernel = lengths, kernel
        self.num_heads, self.kv_heads = stage.num_heads, stage.kv_heads
        self.head_dim = stage.embed_dim // stage.num_heads
        self.scale = self.head_dim**-0.5

    def by_windows(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries (T, h, d), and keys and values (T, k, d) -> (T, C)."""
        T = len(q)
        lengths = list(self.lengths * (T // sum(self.lengths)))
        chunks = [torch.split(each.transpose(0, 1).unsqueeze(0), lengths, dim=2) for each in (q, k, v)]
        attend = self._sdpa if self.kernel == "sdpa" else self._eager
        outputs = [attend(q, self._for_each(k), self._for_each(v)) for q, k, v in zip(*chunks, strict=True)]
        x = torch.cat(outputs, dim=1)  # (1, T, h, d)
        return self.proj(x.reshape(T, -1))

    def _for_each(self, x: Tensor) -> Tensor:
        """Keys or values (1, k, n, d), repeated for the heads of each group: (1, h, n, d). Source: EXAONE 4.5's repeat_kv."""
        if self.kv_heads == self.num_heads:
            return x
        _, heads, n, d = x.shape
        return x[:, :, None].expand(1, heads, self.num_heads // heads, n, d).reshape(1, self.num_heads, n, d)

    def _eager(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Transformers' eager_attention_forward: (1, h, n, d), each -> (1, n, h, d)."""
        scores = torch.matmul(q, k.transpose(2, 3)) * self.scale  # (1, h, n, n)
        scores = scores.softmax(dim=-1, dtype=torch.float32).to(q.dtype)
        out = torch.matmul(scores, v)
        return out.transpose(1, 2).contiguous()

    def _sdpa(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Torch's scaled_dot_product_attention: (1, h, n, d), each -> (1, n, h, d)."""
        return F.scaled_dot_product_attention(q, k, v, scale=self.scale).transpose(1, 2).contiguous()


class Attention(OneByOne):
    """Multi-head self-attention with rotary positions, one window after the other."""

    def __init__(self, layer: LayerConfig, kernel: str) -> None:
        stage = layer.stage
        super().__init__(stage, lengths_of(layer.grid, layer.windows.size), kernel)
        heads = self.num_heads + 2 * self.kv_heads
        self.qkv = nn.Linear(stage.embed_dim, heads * self.head_dim, bias=stage.qkv_bias)
        self.proj = nn.Linear(stage.embed_dim, stage.embed_dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(T, C) with positions (T, d) -> (T, C)."""
        q, k, v = self._projected(x)
        q, k = turned(q, k, cos, sin)
        return self.by_windows(q, k, v)

    def _projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries (T, h, d), and keys and values (T, k, d)."""
        qkv, T = self.qkv(x), len(x)
        if self.kv_heads == self.num_heads:
            return qkv.reshape(T, 3, self.num_heads, -1).permute(1, 0, 2, 3).unbind(0)
        sizes = [heads * self.head_dim for heads in (self.num_heads, self.kv_heads, self.kv_heads)]
        return tuple(each.view(T, -1, self.head_dim) for each in qkv.split(sizes, dim=-1))


class MLP(nn.Module):
    """down(SiLU(gate) * up)."""

    def __init__(self, stage: StageConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(stage.embed_dim, stage.mlp_dim)
        self.up_proj = nn.Linear(stage.embed_dim, stage.mlp_dim)
        self.down_proj = nn.Linear(stage.mlp_dim, stage.embed_dim)
        self.act_fn = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """(T, C) -> (T, C)."""
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class PatchMerger(nn.Module):
    """RMSNorm, then an MLP that merges squares of 2x2 tokens, then the order of the image again."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.width = UNIT * part.entering.dim
        self.ln_q = RMSNorm(part.entering.dim)
        self.mlp = nn.Sequential(
            nn.Linear(self.width, self.width), nn.GELU(), nn.Linear(self.width, part.leaving.dim)
        )

    def forward(self, x: Tensor, _cos: Tensor, _sin: Tensor, order: Tensor) -> Tensor:
        """(T, C) -> (T / 4, out_chans)."""
        back = torch.argsort(order)
        x = self.mlp(self.ln_q(x).view(-1, self.width))
        return x[back, :]


BLOCKS = {"qwen2_5_vl": Block}
PATCH_EMBEDS = {"qwen2_5_vl": PatchEmbed}
POS_EMBEDS = {"window_order": WindowOrder}
NECKS = {"patch_merger": PatchMerger}
