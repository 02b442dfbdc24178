"""Plain vision transformers over token sequences, all of it global: ViT, MAE and the CLIP stage of DeepSeek-OCR.

Sources: ViT (arXiv:2010.11929) as timm has it; MAE (arXiv:2111.06377) as facebookresearch/mae has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from ...encoder.slots import (
    Block,
    Entering,
    Family,
    Part,
    Placing,
    Problem,
    Stream,
    Transition,
    transitions_called,
)

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig

KERNELS = ("eager", "sdpa", "fused")
"""There are no relative positions to fold: fused is sdpa."""


def everywhere(_entering: Entering) -> Placing:
    """Over all tokens."""
    return Placing()


def block_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """Windows, and what is global among them."""
    stage = config.stages[at]
    said = f"blocks of {stage.block} attend over all tokens: leave"
    if not stage.placement.is_global:
        yield ("stages", at, "window_size"), f"{said} window_size out"
    if stage.global_attn_indexes:
        yield ("stages", at, "global_attn_indexes"), f"{said} global_attn_indexes out"
    for number, override in enumerate(stage.overrides):
        if override.placement is not None and not override.placement.is_global:
            yield ("stages", at, "overrides", number, "window_size"), f"{said} window_size out"


PLAIN = Block(
    summary="ViT's block: pre-norm, over all tokens of a sequence.",
    kernels=KERNELS,
    layout="sequence",
    windows=False,
    place=everywhere,
    problems=block_problems,
)
BLOCKS = {
    "plain": PLAIN,
    "clip": replace(PLAIN, summary="CLIP's: the same with quick GELU and 1e-5 in its norms."),
}


EXACT = 1 << 13
"""A share of this denominator or a smaller one, times any number of patches, is the same in floats and in integers."""


def visible(config: EncoderConfig) -> int:
    """Patches that stay, as MAE's code rounds."""
    over, under = (1 - config.mask_ratio).as_integer_ratio()
    if under <= EXACT:  # 3/4 of them and the like: integers, which may be formulas
        return prod(config.grid) * over // under
    return int(prod(config.grid) * (1 - config.mask_ratio))


def masking_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """A masking that leaves nothing."""
    if not visible(config):
        said = f"mask_ratio {config.mask_ratio} leaves none of {prod(config.grid)} patches: use a smaller one"
        yield ("mask_ratio",), said


def with_class_token(_config: EncoderConfig, stream: Stream) -> Stream:
    """The grid, and a class token in front."""
    return replace(stream, extra_tokens=1)


def masked(config: EncoderConfig, stream: Stream) -> Stream:
    """The patches that stay, in no order of a grid, and a class token in front."""
    return replace(stream, grid=(1, visible(config)), extra_tokens=1)


def decoded(config: EncoderConfig, stream: Stream) -> Stream:
    """All patches, with mask tokens for those that did not stay."""
    return replace(stream, grid=config.grid)


def predicted(config: EncoderConfig, stream: Stream) -> Stream:
    """The pixels of each patch; the class token is dropped."""
    return Stream(stream.grid, config.patch_size**2 * config.in_chans)


def of_masking(_config: EncoderConfig) -> tuple[str, ...]:
    """What the masking hands on: the order that restores the patches, and the mask."""
    return ("pos_embed",)


def of_decoder(config: EncoderConfig) -> tuple[str, ...]:
    """What MAE's forward has in its hands until its end."""
    return (*of_masking(config), *transitions_called("mae_decoder", config))


def decoder_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """A decoder that has no masked tokens to restore."""
    if config.pos_embed != "mae":
        where = ("stages", at, "transition")
        yield where, f"transition mae_decoder restores what pos_embed mae masks, not {config.pos_embed}"


def prediction_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """A prediction without a decoder before it."""
    if config.stages[-1].transition != "mae_decoder":
        yield ("neck",), "neck mae_pred follows a stage with transition mae_decoder"


NECKS = {
    "mae_pred": Part(
        summary="MAE's prediction: LayerNorm and a linear layer to the pixels of each patch.",
        takes="sequence",
        stream=predicted,
        taps=of_decoder,
        problems=prediction_problems,
    )
}

FAMILY = Family(
    blocks=BLOCKS,
    pos_embeds={
        "class_token": Part(
            summary="A class token in front, then a learned vector per token, as ViT has it.",
            makes="sequence",
            stream=with_class_token,
        ),
        "mae": Part(
            summary="MAE's: fixed vectors, patches masked at mask_ratio, a class token in front.",
            keys=frozenset({"mask_ratio"}),
            makes="sequence",
            stream=masked,
            problems=masking_problems,
        ),
    },
    transitions={
        "mae_decoder": Transition(
            summary="MAE's way into its decoder: LayerNorm, a linear layer, mask tokens, the order of patches restored.",
            takes="sequence",
            stream=decoded,
            taps=of_masking,
            problems=decoder_problems,
        )
    },
    necks=NECKS,
)
