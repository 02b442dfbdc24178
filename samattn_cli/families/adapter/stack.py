"""SAM's encoder with adapters for fine-tuning: Medical SAM Adapter and LoRA.

Sources: Medical SAM Adapter (arXiv:2304.12620) and its code (MedicineToken/Medical-SAM-Adapter,
models/ImageEncoder/vit/adapter_block.py and models/common/adapter.py); LoRA (arXiv:2106.09685) as in SAMed
(arXiv:2304.13785; hitachinsk/SAMed, sam_lora_image_encoder.py). Names, values and the lifetimes of tensors are those of that
code, so that checkpoints load and memory is the same. That code resizes the position embedding even if it fits. This changes
nothing and is left out here. Shapes: B batch, H x W grid, C width, r rank.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from ...encoder.plan import LayerConfig
from ...stack.windows import window_partition, window_unpartition
from ..vit.stack import Block
from .words import depth_grid

MLP_SCALE = 0.5
"""Factor for the output of the adapter that is parallel to the MLP."""


class Adapter(nn.Module):
    """A bottleneck: linear, GELU, linear; with `skip` the input is added."""

    adapts = True

    def __init__(self, dim: int, hidden_dim: int, *, skip: bool = False) -> None:
        super().__init__()
        self.D_fc1 = nn.Linear(dim, hidden_dim)
        self.D_fc2 = nn.Linear(hidden_dim, dim)
        self.act = nn.GELU()
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        out = self.D_fc2(self.act(self.D_fc1(x)))
        return x + out if self.skip else out


class AdapterBlock(Block):
    """SAM's block with three adapters: one after attention, one parallel to the MLP, one for attention over depth.

    Windows are cut before norm1, so that padding is normed and adapted too. Attention over depth in a windowed block joins
    `depth_slices` consecutive windows, as in the original code.
    """

    def __init__(self, layer: LayerConfig, kernel: str = "eager") -> None:
        super().__init__(layer, kernel)
        dim, hidden_dim = layer.stage.embed_dim, layer.stage.adapter_dim
        self.MLP_Adapter = Adapter(dim, hidden_dim)
        self.Space_Adapter = Adapter(dim, hidden_dim, skip=True)
        self.Depth_Adapter = Adapter(dim, hidden_dim)
        self.depth_slices = layer.stage.depth_slices

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        shortcut = x
        grid = (x.shape[1], x.shape[2])
        if self.window_size is not None:
            x = window_partition(x, self.window_size)
        volume = (
            self._over_depth(x) if self.depth_slices else None
        )  # kept until the end, as in the original code
        x = self.norm1(x)
        x = self.attn(x)
        x = self.Space_Adapter(x)
        if volume is not None:
            x = x + volume
        if self.window_size is not None:
            x = window_unpartition(x, self.window_size, grid)
        x = shortcut + x
        normed = self.norm2(x)
        return x + self.mlp(normed) + MLP_SCALE * self.MLP_Adapter(normed)

    def _over_depth(self, x: Tensor) -> Tensor:
        """Attention with the same weights over the slices of each volume: (B, H, W, C) -> the same."""
        shape, slices = x.shape, self.depth_slices
        _, H, W, C = shape
        # (volumes * slices, H, W, C) -> (volumes * H * W, slices, C)
        x = x.view(-1, slices, H, W, C).permute(0, 2, 3, 1, 4).reshape(-1, slices, C)
        x = self.norm1(x)
        x = x.view(-1, *depth_grid(slices), C)
        x = self.Depth_Adapter(self.attn(x))
        return x.view(-1, H * W, slices, C).transpose(1, 2).reshape(shape)


def low_rank(in_features: int, out_features: int) -> nn.Linear:
    """One of the two layers of a low-rank term."""
    layer: Any = nn.Linear(
        in_features, out_features, bias=False
    )  # not a subclass: ptflops looks for the class
    layer.adapts = True
    return cast("nn.Linear", layer)


class LoRAQkv(nn.Module):
    """A packed projection of queries, keys and values, with a low-rank term added to queries and one to values.

    The terms are added without a factor (alpha = rank), and there is no dropout.
    """

    def __init__(self, qkv: nn.Linear, rank: int) -> None:
        super().__init__()
        dim = qkv.in_features
        self.qkv = qkv
        self.linear_a_q = low_rank(dim, rank)
        self.linear_b_q = low_rank(rank, dim)
        self.linear_a_v = low_rank(dim, rank)
        self.linear_b_v = low_rank(rank, dim)
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., 3C)."""
        qkv = self.qkv(x)
        new_q = self.linear_b_q(self.linear_a_q(x))
        new_v = self.linear_b_v(self.linear_a_v(x))
        qkv[..., : self.dim] += new_q
        qkv[..., -self.dim :] += new_v
        return qkv


class LoRABlock(Block):
    """SAM's block, with low-rank terms in its projection of queries, keys and values."""

    def __init__(self, layer: LayerConfig, kernel: str = "eager") -> None:
        super().__init__(layer, kernel)
        self.attn.add_module("qkv", LoRAQkv(cast("nn.Linear", self.attn.qkv), layer.stage.lora_rank))


BLOCKS = {"sam_adapter": AdapterBlock, "sam_lora": LoRABlock}
