"""The tokens in front of the patches, and learned positions: of all tokens, of patches and class token, or of patches alone.

Sources: timm, models/vision_transformer.py, `_pos_embed`, for positions and order; facebookresearch/dinov2,
dinov2/models/vision_transformer.py, `prepare_tokens_with_masks`, for registers without positions. Names are timm's.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.plan import PartConfig
from .tokens import tokens_in_front


class InFront(nn.Module):
    """Weights of tokens in front of the patches."""

    cls_token: nn.Parameter | None
    reg_token: nn.Parameter | None

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        config, C = part.config, part.entering.dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C)) if config.class_token else None
        self.reg_token = nn.Parameter(torch.zeros(1, config.reg_tokens, C)) if config.reg_tokens else None

    def in_front(self, batch: int) -> list[Tensor]:
        """The class token and the registers, (B, 1, C) and (B, R, C); those that there are."""
        weights = [weight for weight in (self.cls_token, self.reg_token) if weight is not None]
        return [weight.expand(batch, -1, -1) for weight in weights]


class Tokens(InFront):
    """Weights of tokens in front and of positions.

    Args:
        part: its config.
        placed: how many of the tokens in front have positions.
    """

    def __init__(self, part: PartConfig, placed: int) -> None:
        super().__init__(part)
        self.grid, self.placed = part.config.pretrain_grid, placed
        self.pos_embed = nn.Parameter(torch.zeros(1, placed + prod(self.grid), part.entering.dim))

    def positions(self, height: int, width: int) -> Tensor:
        """Of tokens in front, then of patches, resized as DINO does for another grid: (1, placed + height * width, C)."""
        if (height, width) == self.grid:
            return self.pos_embed
        tokens = self.pos_embed[:, : self.placed]
        patches = self.pos_embed[:, self.placed :].reshape(1, *self.grid, -1).permute(0, 3, 1, 2)
        patches = F.interpolate(patches, size=(height, width), mode="bicubic").permute(0, 2, 3, 1)
        resized = patches.view(1, height * width, -1)
        return torch.cat((tokens, resized), dim=1) if self.placed else resized


class ClassToken(Tokens):
    """Puts a class token first, then adds a learned vector to each token; registers come in between without one."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part, placed=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, 1 + R + HW, C)."""
        size = x.shape[1], x.shape[2]
        token, *registers = self.in_front(x.shape[0])
        x = torch.cat((token, x.flatten(1, 2)), dim=1)
        x = x + self.positions(*size)
        return torch.cat((x[:, :1], *registers, x[:, 1:]), dim=1) if registers else x


class AllTokens(Tokens):
    """Puts the tokens in front of the patches, then adds a learned vector to each token."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part, placed=tokens_in_front(part.config))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, R + HW, C)."""
        size = x.shape[1], x.shape[2]
        x = x.flatten(1, 2)
        if in_front := self.in_front(x.shape[0]):
            x = torch.cat((*in_front, x), dim=1)
        return x + self.positions(*size)


class Patches(Tokens):
    """Adds a learned vector to each patch, then puts the tokens in front of the patches."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part, placed=0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, R + HW, C)."""
        in_front = self.in_front(x.shape[0])
        x = x.flatten(1, 2) + self.positions(x.shape[1], x.shape[2])
        return torch.cat((*in_front, x), dim=1) if in_front else x


POS_EMBEDS = {"class_token": ClassToken, "tokens": AllTokens, "patches": Patches}
