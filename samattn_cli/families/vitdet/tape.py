"""ViTDet's own parts on the Tape; the same in torch, with the sources, is `samattn_cli/families/vitdet/stack.py`.

Shapes: B batch, H x W grid, C width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.norms import layer_norm_2d
from ...tape.storage import Dim
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ..vit import tape as vit

Layer = Callable[[Tensor], Tensor]


def block(
    tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, *, code: type[vit.Code] = vit.Code
) -> Tensor:
    """SAM's block, followed by a convolutional residual block if it has one: (B, H, W, C) -> the same."""
    after = partial(residual, tape) if layer.has_residual_block else None
    return vit.block(tape, x, layer, kernel, code=code, after=after)


def residual(tape: Tape, x: Tensor) -> Tensor:
    """The convolutional residual block: (B, H, W, C) -> the same."""
    with tape.module("residual"):
        image = x.permute(0, 3, 1, 2)
        y = bottleneck(tape, image)
        summed = tape.add("add", image, y).permute(0, 2, 3, 1)
    tape.free(y, x)
    return summed


def bottleneck(tape: Tape, x: Tensor) -> Tensor:
    """Convolutions 1x1, 3x3, 1x1 with half of the width, a norm after each, GELU between: (B, C, H, W) -> the same."""
    C = x.shape[1]
    return in_turn(
        tape,
        x,
        _conv(tape, "conv1", C // 2, 1),
        _norm(tape, "norm1"),
        partial(tape.gelu, "act1"),
        _conv(tape, "conv2", C // 2, 3),
        _norm(tape, "norm2"),
        partial(tape.gelu, "act2"),
        _conv(tape, "conv3", C, 1),
        _norm(tape, "norm3"),
    )


def in_turn(tape: Tape, x: Tensor, *layers: Layer) -> Tensor:
    """One layer after the other, like torch's Sequential: each frees its input when it is done, except `x`."""
    y = x
    for layer in layers:
        out = layer(y)
        tape.free(y, keep=x)
        y = out
    return y


def _conv(tape: Tape, name: str, channels: Dim, kernel: int) -> Layer:
    """A convolution that keeps the size, without a bias."""
    return lambda x: tape.conv2d(name, x, channels, kernel, padding=kernel // 2, bias=False)


def up(tape: Tape, name: str, channels: Dim) -> Layer:
    """A transposed convolution that doubles the size."""
    return lambda x: tape.conv_transpose2d(name, x, channels, 2, stride=2)


def _norm(tape: Tape, name: str) -> Layer:
    return lambda x: layer_norm_2d(tape, name, x)


def pretrained_pos_embed(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Add the positions of the pretraining grid, resized to another grid: (B, H, W, C) -> the same."""
    (H, W), grid, C = part.config.pretrain_grid, x.shape[1:3], x.shape[-1]
    positions = tape.used_weight("pos_embed", 1, 1 + H * W, C).slice(1, 1).view(1, H, W, C)
    if grid[0] == H and grid[1] == W:
        return tape.add("add", x, positions)
    resized = tape.interpolate("resize", positions.permute(0, 3, 1, 2), grid, "bicubic").permute(0, 2, 3, 1)
    out = tape.add("add", x, resized)
    tape.free(resized)
    return out


def simple_fpn(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """Five maps from one: (B, H, W, C) -> (B, out_chans, ...) of sides 4H, 2H, H, H/2, H/4."""
    image, C = x.permute(0, 3, 1, 2), x.shape[-1]
    by_four = (
        up(tape, "0", C // 2),
        _norm(tape, "1"),
        partial(tape.gelu, "2"),
        up(tape, "3", C // 4),
    )
    scales: dict[str, tuple[Layer, ...]] = {
        "simfp_2": by_four,
        "simfp_3": (up(tape, "0", C // 2),),
        "simfp_4": (),
        "simfp_5": (lambda y: tape.pooling("0", y, 2),),
    }
    levels = [_level(tape, name, image, scale, part.config.out_chans) for name, scale in scales.items()]
    return *levels, tape.max_pool2d("top_block", levels[-1], 1, stride=2)


def _level(tape: Tape, name: str, image: Tensor, scale: tuple[Layer, ...], channels: Dim) -> Tensor:
    """One map: the image scaled, then convolutions 1x1 and 3x3, a norm after each."""
    at = len(scale)
    laterals = _conv_norm(tape, f"{at}", channels, 1), _conv_norm(tape, f"{at + 1}", channels, 3)
    with tape.module(name):
        return in_turn(tape, image, *scale, *laterals)


def _conv_norm(tape: Tape, name: str, channels: Dim, kernel: int) -> Layer:
    """A convolution with its norm in one module, detectron2's Conv2d."""
    return lambda x: in_turn(tape, x, _conv(tape, name, channels, kernel), _norm(tape, f"{name}.norm"))


BLOCKS = {"vitdet": block}
POS_EMBEDS = {"pretrained": pretrained_pos_embed}
NECKS = {"simple_fpn": simple_fpn}
