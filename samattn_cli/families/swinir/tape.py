"""SwinIR and Swin2SR on the Tape; the same pass in torch, with its sources, is `samattn_cli/families/swinir/stack.py`.

Shapes: B batch, H x W grid of pixels, C width, c channels of the image, r upscale.
"""

from __future__ import annotations

from collections.abc import Callable

from ...encoder.plan import PartConfig
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from .words import FEATURES, has_one, projects, restores


def pixels(tape: Tape, image: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """Tokens (B, H, W, C), the features of the first convolution (B, C, H, W), and the image if the neck adds that."""
    image, config = normalized(tape, image, part), part.config
    tape.registers("conv_first", "proj", "norm")
    features = tape.conv2d("conv_first", image, part.leaving.dim, 3, padding=1)
    kept = (features, image) if restores(config) else (features,)
    if not restores(config):
        tape.free(image)
    projected = tape.conv2d("proj", features, part.leaving.dim, 1) if projects(config) else features
    tokens = tape.layer_norm("norm", projected.permute(0, 2, 3, 1))
    tape.free(projected, keep=features)
    return (tokens, *kept)


def normalized(tape: Tape, image: Tensor, part: PartConfig) -> Tensor:
    """The image, padded to whole windows, minus the mean of each channel, times its range: (B, c, H, W)."""
    padded = tape.pad_image("pad", image, part.leaving.grid)
    centred = tape.sub("sub_mean", padded, tape.buffer(1, image.shape[1], 1, 1))
    out = tape.scale("img_range", centred)
    tape.free(centred, padded)
    return out


def connection(tape: Tape, name: str, x: Tensor, part: PartConfig, *, ends_body: bool = False) -> Tensor:
    """What ends a group, or all groups: one convolution, or three over a quarter of the width: (B, C, H, W) -> the same."""
    C = x.shape[1]
    if has_one(part.config, ends_body=ends_body):
        return tape.conv2d(name, x, C, 3, padding=1)
    with tape.module(name):
        first = tape.leaky_relu_("1", tape.conv2d("0", x, C // 4, 3, padding=1))
        second = tape.leaky_relu_("3", tape.conv2d("2", first, C // 4, 1))
        tape.free(first)
        out = tape.conv2d("4", second, C, 3, padding=1)
        tape.free(second)
    return out


def group(tape: Tape, x: Tensor, part: PartConfig, before: Tensor, *kept: Tensor) -> Tensor:
    """The end of a group: (B, H, W, C), and what entered the group, -> the same; `kept` lives on."""
    y = connection(tape, "conv", x.permute(0, 3, 1, 2), part)
    tape.let_go(before, *kept)
    if projects(part.config):
        convolved, y = y, tape.conv2d("proj", y, y.shape[1], 1)
        tape.free(convolved)
    out = tape.add("add", y.permute(0, 2, 3, 1), before)
    tape.free(y)
    return out


def body(tape: Tape, x: Tensor, part: PartConfig, before: Tensor, features: Tensor, *image: Tensor) -> Tensor:
    """Ends the last group; a norm, a convolution and the features of the first one: (B, H, W, C) -> (B, C, H, W)."""
    tape.registers("group", "norm", "conv_after_body")
    with tape.module("group"):
        y = group(tape, x, part, before, features, *image)
    tape.let_go(features, *image)
    normed = tape.layer_norm("norm", y)
    tape.free(y)
    convolved = connection(tape, "conv_after_body", normed.permute(0, 3, 1, 2), part, ends_body=True)
    tape.free(normed)
    out = tape.add("add_features", convolved, features)
    tape.free(convolved)
    return out


def widened(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> Tensor:
    """The features, and the first convolution of an upsampler: (B, H, W, C) -> (B, FEATURES, H, W)."""
    y = body(tape, x, part, *taps)
    tape.let_go()
    return before_upsampling(tape, y)


def before_upsampling(tape: Tape, y: Tensor) -> Tensor:
    """The first convolution of an upsampler: (B, C, H, W) -> (B, FEATURES, H, W)."""
    with tape.module("conv_before_upsample"):
        out = tape.leaky_relu_("1", tape.conv2d("0", y, FEATURES, 3, padding=1))
    tape.free(y)
    return out


def restored(
    tape: Tape, x: Tensor, part: PartConfig, *held: Tensor, mean: Callable[..., Tensor] | None = None
) -> Tensor:
    """Back to the range and the means of images, without the padding: (B, c, rH, rW) -> (B, c, r height, r width).

    Args:
        tape: records it.
        x: the image, which is freed.
        part: its config.
        held: freed with it.
        mean: makes the mean of a shape: a buffer of this part, if nothing else is given.
    """
    scaled = tape.scale("restore_range", x)
    out = tape.add("restore_mean", scaled, (mean or tape.buffer)(1, x.shape[1], 1, 1))
    tape.free(scaled, x, *held)
    times, (height, width) = part.config.upscale, part.config.image_size
    return out.narrow((*out.shape[:2], times * height, times * width))


def steps_of(upscale: int) -> tuple[int, ...]:
    """How often each step enlarges."""
    return (3,) if upscale == 3 else (2,) * (upscale.bit_length() - 1)  # noqa: PLR2004


def enlarged(tape: Tape, x: Tensor, width: int, steps: tuple[int, ...]) -> Tensor:
    """A 3x3 convolution and pixel shuffle for each step: (B, C, H, W) -> (B, width, rH, rW); `x` lives on."""
    y = x
    with tape.module("upsample"):
        for number, times in enumerate(steps):
            wide = tape.conv2d(f"{2 * number}", y, times**2 * width, 3, padding=1)
            tape.free(y, keep=x)
            y = tape.pixel_shuffle(f"{2 * number + 1}", wide, times)
            tape.free(wide)
    return y


def pixelshuffle(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, out_chans, r height, r width)."""
    return restored(tape, shuffled(tape, widened(tape, x, part, *taps), part), part)


def shuffled(tape: Tape, narrow: Tensor, part: PartConfig) -> Tensor:
    """Convolutions that enlarge, and the last one: (B, FEATURES, H, W) -> (B, out_chans, rH, rW)."""
    large = enlarged(tape, narrow, FEATURES, steps_of(part.config.upscale))
    out = tape.conv2d("conv_last", large, part.config.out_chans, 3, padding=1)
    tape.free(large, narrow)
    return out


def pixelshuffledirect(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, out_chans, r height, r width)."""
    y = body(tape, x, part, *taps)
    tape.let_go()
    out = enlarged(tape, y, part.config.out_chans, (part.config.upscale,))
    tape.free(y)
    return restored(tape, out, part)


def nearest_conv(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, out_chans, r height, r width)."""
    return restored(tape, nearest_steps(tape, widened(tape, x, part, *taps), part), part)


def nearest_steps(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Resizing and a convolution, once or twice, and two more: (B, FEATURES, H, W) -> (B, out_chans, rH, rW); `x` is freed."""
    for number in range(1, part.config.upscale // 2 + 1):
        large = tape.interpolate(f"resize{number}", x, tuple(2 * side for side in x.shape[2:]), "nearest")
        y = tape.conv2d(f"conv_up{number}", large, FEATURES, 3, padding=1)
        tape.free(large)
        y = tape.leaky_relu_("lrelu", y)
        tape.free(x)
        x = y
    y = tape.leaky_relu_("lrelu", tape.conv2d("conv_hr", x, FEATURES, 3, padding=1))
    out = tape.conv2d("conv_last", y, part.config.out_chans, 3, padding=1)
    tape.free(y, x)
    return out


def denoising(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, c, height, width)."""
    _, features, image = taps
    y = body(tape, x, part, *taps)
    residual = tape.conv2d("conv_last", y, part.config.out_chans, 3, padding=1)
    out = tape.add("add_image", image, residual)
    tape.free(residual)
    tape.let_go(features)
    return restored(tape, out, part, y)


PATCH_EMBEDS = {"pixels": pixels, "pixels_proj": pixels}
TRANSITIONS = {"residual_group": group}
NECKS = {
    "swinir_body": body,
    "pixelshuffle": pixelshuffle,
    "pixelshuffledirect": pixelshuffledirect,
    "nearest_conv": nearest_conv,
    "denoising": denoising,
}
