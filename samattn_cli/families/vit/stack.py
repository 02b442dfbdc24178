"""SAM's encoder: blocks of windowed or global attention with relative positions and an MLP, its embeddings and neck.

Source: Segment Anything (arXiv:2304.02643) and its code, modeling/image_encoder.py; the relative positions are those of
MViTv2 (arXiv:2112.01526). Parameter names, values and the lifetimes of tensors are those of the released code, so that
checkpoints load and memory is the same. Shapes: B batch, H x W grid, C width, h heads, d = C / h.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.keys import Pair
from ...encoder.plan import LayerConfig, PartConfig
from ...stack.by_cpu import made_by_cpu
from ...stack.norms import NORM_EPS, LayerNorm2d
from ...stack.patches import in_whole_patches, patch_convolution
from ...stack.rel_pos import decomposed_terms, joint_term, resized_relative_positions
from ...stack.windows import add_mask, of_images, shift_mask, window_partition, window_unpartition
from ...units import KERNEL_ALIGNMENT_BYTES
from .words import global_blocks, last_block


class WindowedBlock(nn.Module):
    """Pre-norm block: attention over windows (or the whole grid), then an MLP, each with its shortcut."""

    def __init__(self, layer: LayerConfig, attn: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.window_size = None if layer.is_global else layer.windows.size
        self.shift_size = layer.shift_size
        self.norm1 = nn.LayerNorm(layer.stage.embed_dim, eps=NORM_EPS)
        self.attn = attn
        self.norm2 = nn.LayerNorm(layer.stage.embed_dim, eps=NORM_EPS)
        self.mlp = mlp

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        shortcut = x
        x = self.norm1(x)
        grid = (x.shape[1], x.shape[2])
        if self.window_size is not None:
            x = window_partition(x, self.window_size, self.shift_size)
        x = self.attn(x)
        if self.window_size is not None:
            x = window_unpartition(x, self.window_size, grid, self.shift_size)
        x = shortcut + x
        return x + self.mlp(self.norm2(x))


class Block(WindowedBlock):
    """SAM's block. SAM does not shift windows; a config that does shifts them like Swin."""

    def __init__(self, layer: LayerConfig, kernel: str = "eager") -> None:
        stage, sizes = layer.stage, (layer.grid, layer.windows.size, layer.shift_size)
        mask = made_by_cpu(shift_mask, *sizes) if layer.is_shifted else None
        attn = Attention(
            stage.embed_dim,
            stage.num_heads,
            qkv_bias=stage.qkv_bias,
            rel_pos=stage.rel_pos,
            size=layer.rel_pos_size,
            kernel=kernel,
            mask=mask,
        )
        super().__init__(layer, attn, MLP(stage.embed_dim, stage.mlp_dim))


class Attention(nn.Module):
    """Multi-head self-attention over H x W tokens with relative positions.

    Args:
        dim: width C.
        num_heads: heads h.
        qkv_bias: whether the qkv projection has a bias.
        rel_pos: "none", "decomposed" or "joint".
        size: (height, width) of the relative-position tables, which are interpolated for other sizes.
        kernel: "eager", "sdpa" or "fused": the same output by different operations.
        mask: of shifted windows (windows, HW, HW); "fused" supports it only without relative positions.
    """

    attn_mask: Tensor | None

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qkv_bias: bool,
        rel_pos: str,
        size: Pair,
        kernel: str = "eager",
        mask: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("attn_mask", mask, persistent=False)
        self.num_heads = num_heads
        head_dim = dim // num_heads
        self.scale = head_dim**-0.5
        self.kernel = kernel
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
        kernels = {"eager": self._eager, "sdpa": self._sdpa, "fused": self._fused}
        return kernels[self.kernel](x)

    def _eager(self, x: Tensor) -> Tensor:
        """SAM's code: makes the score matrix, adds relative positions, then softmax."""
        B, H, W, _ = x.shape
        # (B, H, W, 3C) -> (B, HW, 3, h, d) -> (3, B, h, HW, d)
        qkv = self.qkv(x).reshape(B, H * W, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        # to three of (B*h, HW, d)
        q, k, v = qkv.reshape(3, B * self.num_heads, H * W, -1).unbind(0)
        attn = (q * self.scale) @ k.transpose(-2, -1)  # (B*h, HW, HW)
        if self.rel_pos == "decomposed":
            attn = self._add_decomposed(attn, q, (H, W))
        elif self.rel_pos == "joint":
            attn = attn + joint_term(q, self.rel_pos_hw, (H, W))
        if self.attn_mask is not None:
            attn = add_mask(attn.view(B, self.num_heads, H * W, H * W), self.attn_mask).view(attn.shape)
        attn = attn.softmax(dim=-1)
        # (B*h, HW, d) -> (B, h, H, W, d) -> (B, H, W, C)
        x = (attn @ v).view(B, self.num_heads, H, W, -1).permute(0, 2, 3, 1, 4).reshape(B, H, W, -1)
        return self.proj(x)

    def _add_decomposed(self, attn: Tensor, q: Tensor, size: Pair) -> Tensor:
        N, (H, W) = q.shape[0], size
        Rh, Rw = self._relative_positions(size)  # kept until the sums are computed, as in SAM's code
        rel_h, rel_w = decomposed_terms(q.reshape(N, H, W, -1), Rh, Rw)
        scores = attn.view(N, H, W, H, W) + rel_h[:, :, :, :, None] + rel_w[:, :, :, None, :]
        return scores.view(N, H * W, H * W)

    def _relative_positions(self, size: Pair) -> tuple[Tensor, Tensor]:
        """(H, H, d) and (W, W, d)."""
        H, W = size
        return resized_relative_positions(self.rel_pos_h, H), resized_relative_positions(self.rel_pos_w, W)

    def _sdpa(self, x: Tensor) -> Tensor:
        """Torch's scaled_dot_product_attention; its mask of tokens by tokens has the relative positions."""
        B, H, W, _ = x.shape
        q, k, v = self._split(x)
        out = F.scaled_dot_product_attention(q, k, v, self._mask(q, (H, W)), scale=self.scale)
        return self.proj(out.transpose(1, 2).reshape(B, H, W, -1))

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values (B, h, HW, d), views of one tensor."""
        B, H, W, _ = x.shape
        # (B, H, W, 3C) -> (B, HW, 3, h, d) -> (3, B, h, HW, d)
        return self.qkv(x).view(B, H * W, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def _mask(self, q: Tensor, size: Pair) -> Tensor | None:
        """The term of relative positions plus the mask of shifted windows: (B, h or 1, HW, HW)."""
        term = self._term(q, size)
        if self.attn_mask is None:
            return term
        mask = of_images(self.attn_mask, len(q))
        return mask if term is None else term + mask

    def _term(self, q: Tensor, size: Pair) -> Tensor | None:
        """The term of relative positions in the scores: (B, h, HW, HW)."""
        (B, h, N, d), (H, W) = q.shape, size
        if self.rel_pos == "none":
            return None
        if self.rel_pos == "joint":
            return joint_term(q.reshape(B * h, N, d), self.rel_pos_hw, size).view(B, h, N, N)
        rel_h, rel_w = decomposed_terms(q.view(B, h, H, W, d), *self._relative_positions(size))
        # contiguous, so that the sum is contiguous too and can be viewed
        rel_h, rel_w = rel_h.contiguous()[..., None], rel_w.contiguous()[..., None, :]
        return (rel_h + rel_w).view(B, h, N, N)

    def _fused(self, x: Tensor) -> Tensor:
        """Folds decomposed positions into the product, without a tensor of tokens by tokens.

        q.k * scale + rel_h[row of k] + rel_w[column of k] is one product of longer vectors. q is extended by its terms for
        each row and column, k by its row and column as one-hot vectors, both by zeros up to a length that the kernels
        support.
        """
        if self.rel_pos == "none":
            return self._sdpa(x)
        B, H, W, _ = x.shape
        q, k, v = self._split(x)
        grid = (*q.shape[:2], H, W)
        q, k = q.view(*grid, -1), k.view(*grid, -1)
        rel_h, rel_w = decomposed_terms(q, *self._relative_positions((H, W)))
        zeros = [q.new_zeros(1).expand(*grid, rest)] if (rest := self._rest(q, H + W)) else []
        rows = torch.eye(H, dtype=q.dtype, device=q.device).view(H, 1, H).expand(*grid, H)
        columns = torch.eye(W, dtype=q.dtype, device=q.device).expand(*grid, W)
        q = torch.cat([q * self.scale, rel_h, rel_w, *zeros], dim=-1).flatten(2, 3)
        k = torch.cat([k, rows, columns, *zeros], dim=-1).flatten(2, 3)
        del rel_h, rel_w, rows, columns, zeros
        out = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return self.proj(out.transpose(1, 2).reshape(B, H, W, -1))

    @staticmethod
    def _rest(q: Tensor, terms: int) -> int:
        """Numbers missing to a length that the kernels support."""
        return -(q.shape[-1] + terms) % (KERNEL_ALIGNMENT_BYTES // q.element_size())


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


class PatchEmbed(nn.Module):
    """Non-overlapping patches to vectors; pixels that do not fill a patch are dropped, in videos padded."""

    def __init__(self, part: PartConfig, *, bias: bool = True) -> None:
        super().__init__()
        self.patch, self.proj = part.config.patch, patch_convolution(part, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, height, width) -> (B, H, W, C)."""
        x = self.proj(in_whole_patches(x, self.patch))
        return x.movedim(1, -1)


class ResizedPosEmbed(nn.Module):
    """A learned vector for each patch of a grid; another grid takes the nearest ones.

    Source: ultralytics 8, models/sam/modules/encoders.py, ImageEncoderViT. Its weight is ``pos_embed`` there.
    """

    def __init__(self, grid: Pair, dim: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, *grid, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same."""
        positions = self.pos_embed.permute(0, 3, 1, 2)
        return x + F.interpolate(positions, size=x.shape[1:3], mode="nearest").permute(0, 2, 3, 1)


def learned_pos_embed(part: PartConfig) -> nn.Parameter | ResizedPosEmbed:
    """A learned vector for each patch, which the encoder adds: (1, H, W, C)."""
    if part.config.pretrain_grid != part.entering.grid:
        return ResizedPosEmbed(part.config.pretrain_grid, part.entering.dim)
    return nn.Parameter(torch.zeros(1, *part.entering.grid, part.entering.dim))


class SamNeck(nn.Sequential):
    """1x1 convolution, norm, 3x3 convolution, norm; to `channels`, by default those of the config."""

    def __init__(self, part: PartConfig, channels: int | None = None) -> None:
        channels = channels or part.config.out_chans
        super().__init__(
            nn.Conv2d(part.entering.dim, channels, kernel_size=1, bias=False),
            LayerNorm2d(channels),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, channels, H, W)."""
        return super().forward(x.permute(0, 3, 1, 2))


class SamHqNeck(SamNeck):
    """SAM's neck, and what leaves the global blocks; no gradient comes for any but the first, which a decoder reads.

    Source: SAM-HQ (arXiv:2306.01567) and its code, modeling/image_encoder.py (`interm_embeddings`) and mask_decoder_hq.py.
    """

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part)
        self.last_is_global = last_block(part.config) in global_blocks(part.config)

    def forward(self, x: Tensor, first: Tensor, *later: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """(B, H, W, C), each -> (B, channels, H, W), then the outputs of the global blocks."""
        if torch._C._is_tracing():
            return (super().forward(x),)
        last = (x,) if self.last_is_global else ()
        return super().forward(x), first, *(each.detach() for each in (*later, *last))


BLOCKS = {"vit": Block}
PATCH_EMBEDS = {"patch": PatchEmbed}
POS_EMBEDS = {"learned": learned_pos_embed}
NECKS = {"sam": SamNeck, "sam_hq": SamHqNeck}
