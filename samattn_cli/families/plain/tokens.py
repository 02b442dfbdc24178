"""Tokens in front of the patches, a class token and registers, and which of all tokens have learned positions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...encoder.layouts import SEQUENCE
from ...encoder.slots import Part, Stream, a_patch_of_pretraining, positions_are_kept

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig


def tokens_in_front(config: EncoderConfig) -> int:
    """The number of tokens in front of the patches."""
    return config.class_token + config.reg_tokens


def with_tokens(config: EncoderConfig, stream: Stream) -> Stream:
    """The stream with tokens in front."""
    return replace(stream, extra_tokens=tokens_in_front(config))


def _part(summary: str, *keys: str) -> Part:
    return Part(
        summary=summary,
        keys=frozenset({"pretrain_image_size", "reg_tokens", *keys}),
        problems=a_patch_of_pretraining,
        other_sizes=positions_are_kept,
        makes=SEQUENCE,
        stream=with_tokens,
    )


POS_EMBEDS = {
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
