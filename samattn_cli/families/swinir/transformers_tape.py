"""What transformers writes differently in Swin2SR; the rest is `tape.py`, and its blocks are those of Swin V2.

Source: transformers 5.23.0, models/swin2sr/modeling_swin2sr.py: Swin2SRModel, Swin2SRStage, Swin2SRForImageSuperResolution.
Shapes: B batch, H x W grid of pixels, L = H * W, C width, c channels of the image, r upscale.
"""

from __future__ import annotations

from functools import partial

from ...encoder.plan import PartConfig
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ..swinv2.transformers_tape import BLOCKS
from .tape import connection, enlarged, nearest_steps, normalized, restored, steps_of
from .words import FEATURES


def sequence(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, L, C), a view."""
    B, C, H, W = x.shape
    return x.view(B, C, H * W).transpose(1, 2)


def as_image(x: Tensor, part: PartConfig) -> Tensor:
    """(B, L, C) -> (B, C, H, W), a view."""
    B, _, C = x.shape
    return x.transpose(1, 2).view(B, C, *part.entering.grid)


def pixels(tape: Tape, image: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """Tokens (B, L, C); the features of the first convolution and the image, which the model has names for until its end."""
    image, C = normalized(tape, image, part), part.leaving.dim
    tape.registers("conv_first", "proj", "norm")
    features = tape.conv2d("conv_first", image, C, 3, padding=1)
    projected = tape.conv2d("proj", features, C, 1)
    tokens = tape.layer_norm("norm", sequence(projected))
    tape.free(projected)
    return tokens, features, image


def group(tape: Tape, x: Tensor, part: PartConfig, before: Tensor) -> Tensor:
    """The end of a group: (B, L, C), which the stage holds in what its last layer returned, -> the same."""
    convolved = connection(tape, "conv", as_image(x, part), part)
    y = tape.conv2d("proj", convolved, convolved.shape[1], 1)
    tape.free(convolved)
    out = tape.add("add", sequence(y), before)
    tape.free(y)
    return out


def body(tape: Tape, x: Tensor, part: PartConfig, before: Tensor, features: Tensor, _image: Tensor) -> Tensor:
    """The end of Swin2SRModel, which holds the tokens that left the stages: (B, L, C) -> (B, C, H, W)."""
    tape.registers("group", "norm", "conv_after_body")
    with tape.module("group"):
        left = group(tape, x, part, before)
    tape.let_go_of(
        x, *(before,) * (len(part.config.stages) > 1)
    )  # the model has a name for what enters the first stage
    normed = tape.layer_norm("norm", left)
    convolved = connection(tape, "conv_after_body", as_image(normed, part), part, ends_body=True)
    out = tape.add("add_features", convolved, features)
    tape.free(convolved, normed, left)
    tape.let_go()
    return out


def widened(tape: Tape, x: Tensor) -> Tensor:
    """The first convolution of an upsampler: (B, C, H, W), which lives on, -> (B, FEATURES, H, W)."""
    with tape.module("conv_before_upsample"):
        return tape.leaky_relu_("1", tape.conv2d("0", x, FEATURES, 3, padding=1))


def model_mean(tape: Tape, *shape: int) -> Tensor:
    """The buffer that the first part has."""
    return tape.resident(shape)


def pixelshuffle(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> Tensor:
    """(B, L, C) -> (B, out_chans, r height, r width)."""
    features = body(tape, x, part, *taps)
    narrow = widened(tape, features)
    large = enlarged(tape, narrow, FEATURES, steps_of(part.config.upscale))
    tape.free(narrow)
    out = tape.conv2d("conv_last", large, part.config.out_chans, 3, padding=1)
    tape.free(large)
    return restored(tape, out, part, features, mean=partial(model_mean, tape))


def pixelshuffledirect(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> Tensor:
    """(B, L, C) -> (B, out_chans, r height, r width)."""
    features = body(tape, x, part, *taps)
    out = enlarged(tape, features, part.config.out_chans, (part.config.upscale,))
    return restored(tape, out, part, features, mean=partial(model_mean, tape))


def nearest_conv(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> Tensor:
    """(B, L, C) -> (B, out_chans, r height, r width)."""
    features = body(tape, x, part, *taps)
    out = nearest_steps(tape, widened(tape, features), part)
    return restored(tape, out, part, features, mean=partial(model_mean, tape))


PATCH_EMBEDS = {"pixels_proj": pixels}
TRANSITIONS = {"residual_group": group}
NECKS = {
    "swinir_body": body,
    "pixelshuffle": pixelshuffle,
    "pixelshuffledirect": pixelshuffledirect,
    "nearest_conv": nearest_conv,
}
__all__ = ["BLOCKS", "NECKS", "PATCH_EMBEDS", "TRANSITIONS"]
