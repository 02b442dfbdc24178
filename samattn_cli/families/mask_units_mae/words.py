"""The words of Hiera's MAE pretraining: mask units are dropped before the blocks; a decoder restores them.

Source: facebookresearch/hiera, hiera/hiera_mae.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from ...encoder.keys import Pair
from ...encoder.slots import Family, Part, PatchEmbed, Problem, Stream, Transition, ends_of_stages
from ...errors import Message
from ...records import replace
from ..hiera.words import overlapping_patches
from ..mask_units.shape import DECODER, MASK_UNITS, encoder_stages, unit_side

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

MASKED_PATCHES, MASKING, PREDICTION = "masked_overlapping", "mask_units_mae", "hiera_pred"
EXACT = 1 << 13
"""Up to this denominator, a share times any number of units is the same in floats and in integers."""


def units(config: EncoderConfig) -> Pair:
    """The mask units of an image (high, wide)."""
    side = unit_side(config)
    return config.grid[0] // side, config.grid[1] // side


def visible(config: EncoderConfig) -> int:
    """The number of mask units that are not masked, rounded as Hiera's code does."""
    over, under = (1 - config.mask_ratio).as_integer_ratio()
    if under <= EXACT:
        return prod(units(config)) * over // under
    return int(prod(units(config)) * (1 - config.mask_ratio))


def pooled_stages(config: EncoderConfig) -> int:
    """The number of stages that pool."""
    return sum(stage.q_stride != 1 for stage in encoder_stages(config))


def last_side(config: EncoderConfig) -> int:
    """The side of a mask unit after all pooling, in tokens."""
    return unit_side(config) // prod(stage.q_stride for stage in encoder_stages(config))


def masked(config: EncoderConfig, stream: Stream) -> Stream:
    """The visible mask units, as one row of them because they are no longer in the order of the image."""
    side = unit_side(config)
    return replace(stream, grid=(side, side * visible(config)))


def decoded(config: EncoderConfig, stream: Stream) -> Stream:
    """The tokens of all units after pooling, with mask tokens in place of those that were masked."""
    strides = prod(stage.q_stride for stage in encoder_stages(config))
    return replace(stream, grid=(config.grid[0] // strides, config.grid[1] // strides))


def predicted(config: EncoderConfig, stream: Stream) -> Stream:
    """The pixels under each token."""
    side = config.patch_size * prod(stage.q_stride for stage in encoder_stages(config))
    return Stream(stream.grid, side**2 * config.in_chans)


def of_masking(_config: EncoderConfig) -> tuple[str, ...]:
    """The mask."""
    return ("patch_embed",)


def of_decoder(config: EncoderConfig) -> tuple[str, ...]:
    """The outputs of the stages that the next one pools, and the mask."""
    ends = ends_of_stages(config)[: pooled_stages(config)]
    return (*(f"blocks.{index}" for index in ends), *of_masking(config))


def patches_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """The mask of the pixels is that of the tokens."""
    if config.pos_embed != MASKING:
        message = (
            f"patch_embed {MASKED_PATCHES} needs pos_embed {MASKING}, which drops the tokens that it masks"
        )
        yield ("patch_embed",), Message("needs-pos-embed", message)


def masking_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """Masking takes the mask of the pixels, and must leave a mask unit."""
    if config.patch_embed != MASKED_PATCHES:
        message = f"pos_embed {MASKING} needs patch_embed {MASKED_PATCHES}, which masks the pixels"
        yield ("pos_embed",), Message("needs-patch-embed", message)
    if not visible(config):
        message = (
            f"mask_ratio {config.mask_ratio} masks all {prod(units(config))} mask units: use a smaller ratio"
        )
        yield ("mask_ratio",), Message("no-patches-left", message)


def decoder_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """The decoder restores masked units, so the encoder must mask them; the prediction comes after it."""
    if config.pos_embed != MASKING:
        message = f"transition {DECODER} needs pos_embed {MASKING}, which masks units, not {config.pos_embed}"
        yield ("stages", at, "transition"), Message("needs-pos-embed", message)
    if at != len(config.stages) - 1:
        yield (
            ("stages", at, "transition"),
            Message("decoder-not-last", f"transition {DECODER} begins the decoder, which is the last stage"),
        )


def prediction_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """The prediction needs the decoder before it."""
    if config.stages[-1].transition != DECODER:
        message = f"neck {PREDICTION} needs transition {DECODER} in the last stage"
        yield ("neck",), Message("neck-needs-transition", message)


FAMILY = Family(
    patch_embeds={
        MASKED_PATCHES: PatchEmbed(
            summary="The same, of an image without the pixels of the mask units that are masked, as in Hiera's MAE.",
            grid=overlapping_patches,
            problems=patches_problems,
        )
    },
    pos_embeds={
        MASKING: Part(
            summary="A learned vector per token, then the order of mask units, of which those masked at mask_ratio are dropped.",
            keys=frozenset({"mask_ratio"}),
            makes=MASK_UNITS,
            stream=masked,
            taps=of_masking,
            problems=masking_problems,
        )
    },
    transitions={
        DECODER: Transition(
            summary="The start of the decoder of Hiera's MAE: stages fused by convolutions, LayerNorm, a linear layer, mask "
            "tokens, the order of the image.",
            takes=MASK_UNITS,
            stream=decoded,
            taps=of_decoder,
            problems=decoder_problems,
        )
    },
    necks={
        PREDICTION: Part(
            summary="The prediction of Hiera's MAE: LayerNorm and a linear layer to the pixels under each token.",
            takes=MASK_UNITS,
            stream=predicted,
            problems=prediction_problems,
        )
    },
)
