"""Tokens in front of the patches, a class token and registers, and which of all tokens have learned positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.layouts import SEQUENCE
from ...encoder.slots import Part, Problem, Stream, a_patch_of_pretraining, positions_are_kept
from ...errors import Message
from ...records import replace
from .axial import AXIAL

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig


def tokens_in_front(config: EncoderConfig) -> int:
    """The number of tokens in front of the patches."""
    return config.class_token + config.reg_tokens


def with_tokens(config: EncoderConfig, stream: Stream) -> Stream:
    """The stream with tokens in front."""
    return replace(stream, extra_tokens=tokens_in_front(config))


def rotary_needs_blocks(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """The angles must be of use."""
    if all(stage.block != "dinov3" for stage in config.stages):
        message = f"pos_embed {config.pos_embed} is for blocks dinov3: use these, or pos_embed patches"
        yield ("pos_embed",), Message("needs-block", message)


def prefix_needs_blocks(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """Some blocks must know where a patch is, and there must be a token in front."""
    if all(stage.block not in AXIAL for stage in config.stages):
        message = f"pos_embed {config.pos_embed} has no positions, so it is for blocks {', '.join(AXIAL)}: use these, or pos_embed patches"
        yield ("pos_embed",), Message("needs-block", message)
    if not tokens_in_front(config):
        message = f"pos_embed {config.pos_embed} puts tokens in front: set class_token to true, or reg_tokens to a number"
        yield ("pos_embed",), Message("needs-tokens", message)


def _part(summary: str, *keys: str) -> Part:
    return Part(
        summary=summary,
        keys=frozenset({"pretrain_image_size", "reg_tokens", *keys}),
        problems=a_patch_of_pretraining,
        other_sizes=positions_are_kept,
        makes=SEQUENCE,
        stream=with_tokens,
    )


def fixed_grid(_config: EncoderConfig) -> str:
    """Rotary positions have no weights."""
    return "Its rotary positions have no weights, and fit any grid."


POS_EMBEDS = {
    "rotary": Part(
        summary="A class token and registers in front, without positions; blocks dinov3 take the angles of the patches.",
        keys=frozenset({"reg_tokens"}),
        makes=SEQUENCE,
        stream=with_tokens,
        other_sizes=fixed_grid,
        problems=rotary_needs_blocks,
    ),
    "prefix": Part(
        summary="Class token and registers in front of the patches, without positions, for blocks whose attention has rotary ones.",
        keys=frozenset({"reg_tokens", "class_token"}),
        makes=SEQUENCE,
        stream=with_tokens,
        other_sizes=fixed_grid,
        problems=prefix_needs_blocks,
    ),
    "class_token": _part(
        "A class token in front, then a learned vector per token, as in ViT; those of patches are for "
        "pretrain_image_size, and another grid resizes them, bicubically, in each forward. Register tokens have none, as "
        "in DINOv2."
    ),
    "patches": _part(
        "A learned vector per patch, resized likewise, then class token and registers in front, which have none, as in "
        "DeiT III.",
        "class_token",
    ),
    "tokens": _part(
        "Class token and registers in front, then a learned vector for each of all tokens; those of patches are resized "
        "likewise.",
        "class_token",
    ),
}
