"""SwinIR and Swin2SR restore images: shifted windows over all pixels, in groups that end with a convolution and a skip.

Sources: JingyunLiang/SwinIR, models/network_swinir.py; for Swin2SR transformers, models/swin2sr. Names, operations and lifetimes
of tensors are those of SwinIR's code. Differences: the end of the last group is in the neck; tokens are (B, H, W, C) here and
(B, L, C) there; the mask of shifted windows is made for this image size, where SwinIR makes one anew in each forward at other
sizes than that of training; there is no dropout and no stochastic depth; the mean of channels is a
buffer of the first part and of the last, and one tensor there. Shapes: B batch, H x W grid of pixels, C width,
c channels of the image, r upscale.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...encoder.plan import PartConfig
from .words import FEATURES, has_one, projects, restores

NORM_EPS = 1e-5
RGB_MEAN = (0.4488, 0.4371, 0.4040)
IMG_RANGE = 1.0
SLOPE = 0.2


def mean_of(channels: int) -> Tensor:
    """The mean of each channel of RGB, (1, c, 1, 1); zero for other images."""
    values = RGB_MEAN if channels == len(RGB_MEAN) else (0.0,) * channels
    return torch.tensor(values).view(1, channels, 1, 1)


def conv3(entering: int, leaving: int) -> nn.Conv2d:
    """A 3x3 convolution."""
    return nn.Conv2d(entering, leaving, 3, 1, 1)


def connection(part: PartConfig, *, ends_body: bool = False) -> nn.Module:
    """What ends a group, or all groups: one convolution, or three over a quarter of the width."""
    dim = part.entering.dim
    if has_one(part.config, ends_body=ends_body):
        return conv3(dim, dim)
    return nn.Sequential(
        conv3(dim, dim // 4),
        nn.LeakyReLU(SLOPE, inplace=True),
        nn.Conv2d(dim // 4, dim // 4, 1),
        nn.LeakyReLU(SLOPE, inplace=True),
        conv3(dim // 4, dim),
    )


class Pixels(nn.Module):
    """The image, padded to whole windows, and a 3x3 convolution; then tokens."""

    mean: Tensor

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.register_buffer("mean", mean_of(part.config.in_chans), persistent=False)
        dim, self.grid = part.leaving.dim, part.leaving.grid
        self.returns_image = restores(part.config)
        self.conv_first = conv3(part.config.in_chans, dim)
        self.proj = nn.Conv2d(dim, dim, 1) if projects(part.config) else None
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, c, height, width) -> (B, H, W, C), the features (B, C, H, W), and the image if the neck adds it."""
        below, right = (whole - side for whole, side in zip(self.grid, x.shape[2:], strict=True))
        x = F.pad(x, (0, right, 0, below), "reflect")
        x = (x - self.mean) * IMG_RANGE
        features = self.conv_first(x)
        kept = (features, x) if self.returns_image else (features,)
        del x
        tokens = features if self.proj is None else self.proj(features)
        return (self.norm(tokens.permute(0, 2, 3, 1)), *kept)


class Group(nn.Module):
    """The end of a residual group."""

    lets_go = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        dim = part.entering.dim
        self.conv = connection(part)
        self.proj = nn.Conv2d(dim, dim, 1) if projects(part.config) else None

    def forward(self, entering: list[Tensor], before: Tensor) -> Tensor:
        """(B, H, W, C), and what entered the group, -> the same."""
        x = self.conv(entering.pop().permute(0, 3, 1, 2))
        if self.proj is not None:
            x = self.proj(x)
        return x.permute(0, 2, 3, 1) + before


class Body(nn.Module):
    """The end of the last group; a norm, a convolution, and the features of the first one."""

    lets_go_of_taps = True

    def __init__(self, part: PartConfig) -> None:
        super().__init__()
        self.group = Group(part)
        self.norm = nn.LayerNorm(part.entering.dim, eps=NORM_EPS)
        self.conv_after_body = connection(part, ends_body=True)

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> Tensor:
        """(B, H, W, C) -> (B, C, H, W)."""
        return self.conv_after_body(self._normed(entering, taps)) + taps[0]

    def _normed(self, entering: list[Tensor], taps: list[Tensor]) -> Tensor:
        return self.norm(self.group(entering, taps.pop(0))).permute(0, 3, 1, 2)


class Restored(Body):
    """The common base of necks that return an image."""

    mean: Tensor

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part)
        self.upscale, self.size = part.config.upscale, part.config.image_size
        self.register_buffer("mean", mean_of(part.config.out_chans), persistent=False)

    def body(self, entering: list[Tensor], taps: list[Tensor]) -> Tensor:
        """The features, (B, H, W, C) -> (B, C, H, W), when nothing else of what entered is alive."""
        x = super().forward(entering, taps)
        taps.clear()
        return x

    def restored(self, x: Tensor) -> Tensor:
        """(B, c, rH, rW) -> (B, c, r height, r width)."""
        x = x / IMG_RANGE + self.mean
        height, width = self.size
        return x[:, :, : self.upscale * height, : self.upscale * width]


class Widened(Restored):
    """The common base of upsamplers that begin with a convolution."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part)
        dim = part.entering.dim
        self.conv_before_upsample = nn.Sequential(conv3(dim, FEATURES), nn.LeakyReLU(inplace=True))


class PixelShuffle(Widened):
    """Convolutions, each of which enlarges by pixel shuffle."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part)
        self.upsample = upsampling(FEATURES, FEATURES, steps_of(part.config.upscale))
        self.conv_last = conv3(FEATURES, part.config.out_chans)

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> Tensor:
        """(B, H, W, C) -> (B, out_chans, r height, r width)."""
        x = self.body(entering, taps)
        x = self.conv_before_upsample(x)
        x = self.conv_last(self.upsample(x))
        return self.restored(x)


class PixelShuffleDirect(Restored):
    """One convolution and pixel shuffle."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part)
        self.upsample = upsampling(part.entering.dim, part.config.out_chans, (part.config.upscale,))

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> Tensor:
        """(B, H, W, C) -> (B, out_chans, r height, r width)."""
        x = self.body(entering, taps)
        x = self.upsample(x)
        return self.restored(x)


class NearestConv(Widened):
    """Nearest-neighbour resizing by 2, then a convolution, once or twice."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part)
        self.conv_up1 = conv3(FEATURES, FEATURES)
        self.conv_up2 = conv3(FEATURES, FEATURES) if part.config.upscale > 2 else None  # noqa: PLR2004
        self.conv_hr = conv3(FEATURES, FEATURES)
        self.conv_last = conv3(FEATURES, part.config.out_chans)
        self.lrelu = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> Tensor:
        """(B, H, W, C) -> (B, out_chans, r height, r width)."""
        x = self.body(entering, taps)
        x = self.conv_before_upsample(x)
        x = self.lrelu(self.conv_up1(F.interpolate(x, scale_factor=2, mode="nearest")))
        if self.conv_up2 is not None:
            x = self.lrelu(self.conv_up2(F.interpolate(x, scale_factor=2, mode="nearest")))
        x = self.conv_last(self.lrelu(self.conv_hr(x)))
        return self.restored(x)


class Denoising(Restored):
    """No upsampler: what is added to the image."""

    def __init__(self, part: PartConfig) -> None:
        super().__init__(part)
        self.conv_last = conv3(part.entering.dim, part.config.out_chans)

    def forward(self, entering: list[Tensor], taps: list[Tensor]) -> Tensor:
        """(B, H, W, C) -> (B, c, height, width)."""
        x = taps.pop()
        x_first = taps[1]
        res = Body.forward(self, entering, taps)
        taps.clear()
        x = x + self.conv_last(res)
        x = self.restored(x)
        del res, x_first
        return x


def steps_of(upscale: int) -> tuple[int, ...]:
    """How often each step of pixel shuffle enlarges."""
    steps: tuple[int, ...] = ()
    while upscale % 2 == 0:
        steps, upscale = (*steps, 2), upscale // 2
    return steps if upscale == 1 else (*steps, upscale)


def upsampling(entering: int, leaving: int, steps: tuple[int, ...]) -> nn.Sequential:
    """A convolution and pixel shuffle for each step."""
    layers: list[nn.Module] = []
    for times in steps:
        layers += [conv3(entering, times**2 * leaving), nn.PixelShuffle(times)]
        entering = leaving
    return nn.Sequential(*layers)


PATCH_EMBEDS = {"pixels": Pixels, "pixels_proj": Pixels}
TRANSITIONS = {"residual_group": Group}
NECKS: dict[str, Any] = {
    "swinir_body": Body,
    "pixelshuffle": PixelShuffle,
    "pixelshuffledirect": PixelShuffleDirect,
    "nearest_conv": NearestConv,
    "denoising": Denoising,
}
