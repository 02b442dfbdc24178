"""Sizes of mask units, by the stages of an encoder."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from ...encoder.keys import Size
from ...encoder.layouts import Sizes, TokenLayout

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig, StageConfig

DECODER = "hiera_decoder"
POOLED = 2
"""The stride of pooled queries in all published models; mask units follow from it also where no stage pools."""


def _in_their_order(B: Any, _grid: Size, tokens: Any, C: Any) -> Sizes:
    return B, tokens, C


MASK_UNITS = TokenLayout("mask units", "tokens in the order of mask units", _in_their_order)


def encoder_stages(config: EncoderConfig) -> tuple[StageConfig, ...]:
    """The stages before the decoder."""
    return tuple(stage for stage in config.stages if stage.transition != DECODER)


def stride(config: EncoderConfig) -> int:
    """The side of the squares of tokens that are pooled."""
    return next((stage.q_stride for stage in encoder_stages(config) if stage.q_stride != 1), POOLED)


def levels(config: EncoderConfig) -> int:
    """How often tokens are put in the order of such squares: once for each stage but the last."""
    return len(encoder_stages(config)) - 1


def unit_side(config: EncoderConfig) -> int:
    """The side of a mask unit in tokens, before pooling: 8 in all published models."""
    return prod([stride(config)] * levels(config))
