"""Hiera's MAE pretraining, without the loss: masked pixels and mask units, fused stages, decoder, prediction.

Source: facebookresearch/hiera, hiera/hiera_mae.py, hiera.py (get_random_mask) and hiera_utils.py. Names, values and the order of
operations are those of that code. It puts the output of a stage back in the order of mask units when the stage has run; here the
decoder does so at its start, for the stages whose outputs it fuses. Shapes: B batch, U mask units, V of them visible, s x s tokens
of a unit in a stage, f x f in the last, C width.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.plan import PartConfig
from ...stack.norms import NORM_EPS
from ..hiera.stack import PatchEmbed
from ..mask_units.shape import encoder_stages, levels, stride, unit_side
from ..mask_units.stack import unroll
from .words import last_side, pooled_stages, units, visible


class MaskedPatches(nn.Module):
    """Overlapping patches of an image without the pixels of masked units; the mask is returned too (True: visible)."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.proj = PatchEmbed(part).proj
        self.units, self.visible = units(part.config), visible(part.config)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, in_chans, height, width) -> (B, H, W, C) and (B, U)."""
        mask = random_mask(x, prod(self.units), self.visible)
        resized = F.interpolate(mask.view(x.shape[0], 1, *self.units).float(), size=x.shape[2:])
        return self.proj(x * resized.bool()).permute(0, 2, 3, 1), mask


def random_mask(x: Tensor, number: int, staying: int) -> Tensor:
    """Draws the units that stay in each image: (B, number), True where they stay."""
    noise = torch.rand(x.shape[0], number, device=x.device)
    shuffle = torch.argsort(noise, dim=1)
    restore = torch.argsort(shuffle, dim=1)
    mask = torch.zeros([x.shape[0], number], device=x.device)
    mask[:, :staying].fill_(1)  # an assignment of 1 upsets the tracer of fvcore
    mask = torch.gather(mask, dim=1, index=restore)
    return mask.bool()


class Masking(nn.Module):
    """A learned vector for each token, then the order of mask units, of which the masked ones are dropped."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        (H, W), C = part.entering.grid, part.entering.dim
        self.stride, self.levels = stride(part.config), levels(part.config)
        self.unit, self.visible = unit_side(part.config) ** 2, visible(part.config)
        self.pos_embed = nn.Parameter(torch.zeros(1, H * W, C))

    def forward(self, entering: list[Tensor], mask: Tensor) -> Tensor:
        """(B, H, W, C), (B, U) -> (B, V * s * s, C)."""
        x = entering.pop()
        H, W = x.shape[1:3]
        x = x.flatten(1, 2) + self.pos_embed
        x = unroll(x, (H, W), self.stride, self.levels)
        B, _, C = x.shape
        kept = chosen(x, mask[..., None].tile(1, self.unit, C), B * self.visible * self.unit * C)
        return kept.view(B, -1, C)


def chosen(x: Tensor, where: Tensor, number: int) -> Tensor:
    """``x[where]``, of which the meta device does not know the `number`."""
    return Chosen.apply(x, where, number) if x.is_meta else x[where]


def placed(x: Tensor, where: Tensor, values: Tensor) -> Tensor:
    """`x` with ``x[where] = values``."""
    if x.is_meta:
        return Placed.apply(x, where, values)
    x[where] = values
    return x


def places(where: Tensor, number: int) -> Tensor:
    """``where.nonzero()`` on the meta device: (number, dimensions), int64."""
    return torch.empty(number, where.dim(), dtype=torch.int64, device=where.device)


class Chosen(torch.autograd.Function):
    """``x[where]`` with the memory that it takes: the places that are chosen, forward and backward, and the flags for autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, where: Tensor, number: int) -> Tensor:
        """(number,)."""
        ctx.save_for_backward(where)
        ctx.shape, ctx.number = x.shape, number
        _nonzero = places(where, number)
        return x.new_empty(number)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Zeros to which the gradients are added."""
        (where,) = ctx.saved_tensors
        grad = gradient.new_zeros(ctx.shape)
        _nonzero = places(where, ctx.number)
        return grad, None, None


class Placed(torch.autograd.Function):
    """``x[where] = values`` in place, for `x` without a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, where: Tensor, values: Tensor) -> Tensor:
        """`x`."""
        ctx.save_for_backward(where)
        ctx.number = values.numel()
        _nonzero = places(where, ctx.number)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        """The gradients at those places."""
        (where,) = ctx.saved_tensors
        _nonzero = places(where, ctx.number)
        return None, None, gradient.new_empty(ctx.number)


class Decoder(nn.Module):
    """From the visible units of several stages to all tokens of the last."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        config, width, (H, W) = part.config, part.leaving.dim, part.leaving.grid
        self.stride, self.side = stride(config), last_side(config)
        self.units, self.grid = units(config), (H, W)
        sides = self.sides = sides_of_units(part)
        self.multi_scale_fusion_heads = nn.ModuleList(
            nn.Conv2d(
                stage.embed_dim, part.entering.dim, kernel_size=side // self.side, stride=side // self.side
            )
            for stage, side in zip(encoder_stages(config), sides[:-1], strict=False)
        )
        self.encoder_norm = nn.LayerNorm(part.entering.dim, eps=NORM_EPS)
        self.decoder_embed = nn.Linear(part.entering.dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, H * W, width))

    def forward(self, entering: list[Tensor], *taps: Tensor) -> Tensor:
        """The last stage's tokens, those of the stages before that are pooled, and the mask -> (B, L, D)."""
        *finer, mask = taps
        del taps
        x = self.decoder_embed(self.encoder_norm(self._fused(entering, finer)))
        B, (U, f, D) = x.shape[0], (mask.shape[1], self.side, x.shape[-1])
        decoded = torch.zeros(B, U, f, f, D, device=x.device, dtype=x.dtype)
        where = mask.reshape(B, U, 1, 1, 1).expand(-1, -1, f, f, D)
        decoded = placed(decoded, where, x.flatten())
        tokens = self.mask_token.view(1, 1, 1, 1, -1)
        decoded = ~where * tokens + where * decoded
        # (B, rows, columns, f, f, D) -> (B, rows, f, columns, f, D)
        x = decoded.view(B, *self.units, f, f, D).permute(0, 1, 3, 2, 4, 5).reshape(B, *self.grid, D)
        return x.flatten(1, 2) + self.decoder_pos_embed

    def _fused(self, entering: list[Tensor], finer: list[Tensor]) -> Tensor:
        """The sum of the stages, each reduced to f x f tokens of a unit: (B, V, f, f, C)."""
        maps = [reroll(x, side, self.stride) for x, side in zip([*finer, *entering], self.sides, strict=True)]
        fused: Any = 0.0
        for head, each in zip((*self.multi_scale_fusion_heads, None), maps, strict=True):
            fused += each if head is None else _reduced(head, each)
        return fused


def _reduced(head: nn.Module, x: Tensor) -> Tensor:
    """(B, V, s, s, C) -> (B, V, f, f, C')."""
    B, V = x.shape[:2]
    x = head(x.reshape(B * V, *x.shape[2:]).permute(0, 3, 1, 2))
    x = x.permute(0, 2, 3, 1)
    return x.reshape(B, V, *x.shape[1:])


def sides_of_units(part: PartConfig) -> list[int]:
    """The tokens along a unit in each stage that the next one pools, and in the last."""
    first, side = unit_side(part.config), stride(part.config)
    return [first // side**number for number in range(pooled_stages(part.config) + 1)]


def reroll(x: Tensor, unit: int, side: int) -> Tensor:
    """Tokens in the order of mask units as units of tokens: (B, N, C) -> (B, V, unit, unit, C)."""
    (B, N, C), own = x.shape, 1
    while own < unit:
        N //= side**2
        x = x.view(B, side, side, N, own, own, C).permute(0, 3, 1, 4, 2, 5, 6)
        own *= side
        x = x.reshape(B, N, own, own, C)
    return x.view(B, N, own, own, C)


class Prediction(nn.Module):
    """The prediction of the pixels under each token."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.decoder_norm = nn.LayerNorm(part.entering.dim, eps=NORM_EPS)
        self.decoder_pred = nn.Linear(part.entering.dim, part.leaving.dim)

    def forward(self, entering: list[Tensor]) -> Tensor:
        """(B, L, D) -> (B, L, pixels * in_chans)."""
        x = self.decoder_norm(entering.pop())
        return self.decoder_pred(x)


PATCH_EMBEDS = {"masked_overlapping": MaskedPatches}
POS_EMBEDS = {"mask_units_mae": Masking}
TRANSITIONS = {"hiera_decoder": Decoder}
NECKS = {"hiera_pred": Prediction}
