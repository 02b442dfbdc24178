"""ViTDet's own parts on the Tape; the same in torch, with the sources, is `samattn_cli/nn/vitdet.py`.

Shapes: B batch, H x W grid, C width.
"""

from __future__ import annotations

from collections.abc import Callable

from ..config.plan import LayerConfig, PartConfig
from . import vit
from .norms import layer_norm_2d
from .tape import Tape
from .tensor import Dim, Tensor, decide

Scale = Callable[[Tape, Tensor], tuple[Tensor, int]]
"""A way to another size, as the first layers of a sequence; how many there are."""


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """SAM's block, and behind it a convolutional residual block where it has one: (B, H, W, C) -> the same."""
    out = vit.block(tape, x, layer, kernel)
    if not layer.has_residual_block:
        return out
    with tape.module("residual"):
        image = out.permute(0, 3, 1, 2)
        y = bottleneck(tape, image)
        summed = tape.add("add", image, y).permute(0, 2, 3, 1)
    tape.free(y, out)
    return summed


def bottleneck(tape: Tape, x: Tensor) -> Tensor:
    """Convolutions 1x1, 3x3 and 1x1 by half of the width, a norm after each, GELU between: (B, C, H, W) -> the same."""
    C = x.shape[1]
    y = _active(tape, "act1", _conv_norm(tape, "conv1", "norm1", x, C // 2, 1))
    active = _active(tape, "act2", _conv_norm(tape, "conv2", "norm2", y, C // 2, 3))
    tape.free(y)
    out = _conv_norm(tape, "conv3", "norm3", active, C, 1)
    tape.free(active)
    return out


def _conv_norm(tape: Tape, name: str, norm: str, x: Tensor, channels: Dim, kernel: int) -> Tensor:
    """A convolution that keeps the size, without a bias, and its norm: (B, in, H, W) -> (B, channels, H, W)."""
    y = tape.conv2d(name, x, channels, kernel, padding=kernel // 2, bias=False)
    out = layer_norm_2d(tape, norm, y)
    tape.free(y)
    return out


def _active(tape: Tape, name: str, x: Tensor) -> Tensor:
    """GELU of what is not used again."""
    out = tape.gelu(name, x)
    tape.free(x)
    return out


def pretrained_pos_embed(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Add positions of the pretraining, resized where its grid is another: (B, H, W, C) -> the same."""
    (H, W), grid, C = part.config.pretrain_grid, x.shape[1:3], x.shape[-1]
    positions = tape.used_weight("pos_embed", 1, 1 + H * W, C).slice(1, 1).view(1, H, W, C)
    if decide(grid[0] == H) and decide(grid[1] == W):
        return tape.add("add", x, positions)
    resized = tape.interpolate("resize", positions.permute(0, 3, 1, 2), grid, "bicubic").permute(0, 2, 3, 1)
    out = tape.add("add", x, resized)
    tape.free(resized)
    return out


def simple_fpn(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """Five maps of one: (B, H, W, C) -> (B, out_chans, 4H, 4W), twice, as is, halved and halved again."""
    image, channels = x.permute(0, 3, 1, 2), part.config.out_chans
    levels = [
        _level(tape, f"simfp_{2 + at}", image, scale, channels)
        for at, scale in enumerate((_by_four, _by_two, _as_is, _halved))
    ]
    return *levels, tape.max_pool2d("top_block", levels[-1], 1, stride=2)


def _level(tape: Tape, name: str, image: Tensor, scale: Scale, channels: Dim) -> Tensor:
    """One map: the image scaled, then convolutions 1x1 and 3x3, a norm after each."""
    with tape.module(name):
        scaled, at = scale(tape, image)
        lateral = _conv_norm(tape, f"{at}", f"{at}.norm", scaled, channels, 1)
        tape.free(scaled, keep=image)
        out = _conv_norm(tape, f"{at + 1}", f"{at + 1}.norm", lateral, channels, 3)
        tape.free(lateral)
    return out


def _by_four(tape: Tape, image: Tensor) -> tuple[Tensor, int]:
    """(B, C, H, W) -> (B, C/4, 4H, 4W), and the number of the next layer, as of each scale."""
    C = image.shape[1]
    doubled = tape.conv_transpose2d("0", image, C // 2, 2, stride=2)
    normed = layer_norm_2d(tape, "1", doubled)
    tape.free(doubled)
    active = _active(tape, "2", normed)
    out = tape.conv_transpose2d("3", active, C // 4, 2, stride=2)
    tape.free(active)
    return out, 4


def _by_two(tape: Tape, image: Tensor) -> tuple[Tensor, int]:
    """(B, C, H, W) -> (B, C/2, 2H, 2W)."""
    return tape.conv_transpose2d("0", image, image.shape[1] // 2, 2, stride=2), 1


def _as_is(_tape: Tape, image: Tensor) -> tuple[Tensor, int]:
    """(B, C, H, W) -> itself."""
    return image, 0


def _halved(tape: Tape, image: Tensor) -> tuple[Tensor, int]:
    """(B, C, H, W) -> (B, C, H/2, W/2), rounded down."""
    return tape.max_pool2d("0", image, 2), 1


BLOCKS = {"vitdet": block}
POS_EMBEDS = {"pretrained": pretrained_pos_embed}
NECKS = {"simple_fpn": simple_fpn}
