"""Plain vision transformers: global attention over a token sequence. ViT, MAE and the CLIP stage of DeepSeek-OCR.

Sources: ViT (arXiv:2010.11929) as timm has it; MAE (arXiv:2111.06377) as facebookresearch/mae has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from ...encoder.layouts import SEQUENCE
from ...encoder.slots import (
    Block,
    Entering,
    Family,
    Implementation,
    Part,
    Placing,
    Problem,
    Stream,
    Transition,
    Wanted,
    by_turns,
    cannot_run,
    first_output,
    transitions_called,
)
from ...errors import Message
from ...records import replace
from .tokens import POS_EMBEDS as TOKENS

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig, StageConfig
    from ...encoder.tree import Loc

ENCODER_AND_DECODER = 2
OF_POSITIONS = 4
"""Channels of transformers' positions come in fours: sine and cosine, of rows and of columns."""

KERNELS = ("eager", "sdpa", "fused")
"""These blocks have no relative positions to fold, so fused is the same as sdpa."""


@by_turns
def everywhere(_entering: Entering) -> Placing:
    """Global attention."""
    return Placing()


def block_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """These blocks have neither windows nor a choice of global blocks."""
    stage = config.stages[at]
    places: list[Loc] = []
    if not stage.placement.is_global:
        places.append(("stages", at, "window_size"))
    if stage.global_attn_indexes:
        places.append(("stages", at, "global_attn_indexes"))
    for number, override in enumerate(stage.overrides):
        if override.placement is not None and not override.placement.is_global:
            places.append(("stages", at, "overrides", number, "window_size"))
    for place in places:
        message = f"{stage.block} blocks attend to all tokens: remove {place[-1]}"
        yield place, Message("always-global", message)


PLAIN = Block(
    summary="ViT's block: pre-norm, over all tokens of a sequence.",
    keys=frozenset({"layer_scale", "mlp"}),
    kernels=KERNELS,
    layout=SEQUENCE,
    windows=False,
    place=everywhere,
    problems=block_problems,
)
ROTARY, ROTARY_STEP = "rotary", 4
"""The positions that blocks dinov3 take; an angle for rows and columns, of which each turns two channels."""


def rotary_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """DINOv3's blocks take the angles of the tokens, and all of them share these."""
    yield from block_problems(config, at)
    stage, first = config.stages[at], config.stages[0]
    if config.pos_embed != ROTARY:
        message = f"block {stage.block} needs pos_embed {ROTARY}, not {config.pos_embed}"
        yield ("stages", at, "block"), Message("needs-pos-embed", message)
    yield from head_problems(config, at)
    for width in head_widths(stage):
        if not width % ROTARY_STEP and width != first.embed_dim // first.num_heads:
            message = f"num_heads gives a head width of {width}, but the first blocks have another: all share their rotary positions"
            yield ("stages", at, "num_heads"), Message("heads-differ", message)


def head_widths(stage: StageConfig) -> Iterator[int]:
    """The widths of the heads of a stage, and of its overrides."""
    yield stage.embed_dim // stage.num_heads
    for override in stage.overrides:
        yield from (stage.at(index).embed_dim // stage.at(index).num_heads for index in override.blocks)


def head_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """Rotary positions turn pairs of channels, by the row and by the column."""
    for width in head_widths(config.stages[at]):
        if width % ROTARY_STEP:
            message = f"num_heads gives heads of {width} channels: rotary positions need a multiple of {ROTARY_STEP}"
            yield ("stages", at, "num_heads"), Message("rotary-head-width", message)


def axial_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """They must know the row and the column of each token, so none may be dropped."""
    yield from block_problems(config, at)
    yield from head_problems(config, at)
    stage = config.stages[at]
    if config.pos_embed == "mae":
        message = f"block {stage.block} needs all patches, and pos_embed {config.pos_embed} drops some: use another pos_embed"
        yield ("stages", at, "block"), Message("needs-pos-embed", message)


BLOCKS = {
    **{
        word: replace(PLAIN, summary=summary, problems=axial_problems)
        for word, summary in {
            "eva": "timm's EVA's: like plain, with queries and keys of patches rotated by row and column, places from 0 to 16 on "
            "any grid, and biases of queries and values alone.",
            "rope": "rope-vit's: like plain, with queries and keys of patches rotated by column and row, at a theta of 100.",
            "pe": "The Perception Encoder's: like rope, at a theta of 10,000, with an epsilon of 1e-5 in its norms.",
        }.items()
    },
    "eva02": replace(
        PLAIN,
        summary="EVA-02's: like eva, with a projection each for queries, keys and values, and SwiGLU with a norm before its last "
        "layer.",
        keys=frozenset({"layer_scale"}),
        problems=axial_problems,
    ),
    "eva02_clip": replace(
        PLAIN,
        summary="EVA-02's in CLIP: like eva02, with a norm of the attended values before they are projected.",
        keys=frozenset({"layer_scale"}),
        problems=axial_problems,
    ),
    "plain": PLAIN,
    "dinov3": replace(
        PLAIN,
        summary="DINOv3's: like plain, with queries and keys of patches rotated by the angles of pos_embed rotary, biases "
        "of queries and values alone, and an epsilon of 1e-5 in its norms.",
        taps=("pos_embed",),
        problems=rotary_problems,
    ),
    "clip": replace(
        PLAIN,
        summary="CLIP's: like plain, with quick GELU and an epsilon of 1e-5 in its norms.",
        keys=frozenset({"layer_scale"}),
    ),
}


EXACT = 1 << 13
"""Up to this denominator, a share times any number of patches is the same in floats and in integers."""


def visible(config: EncoderConfig) -> int:
    """The number of patches that are not masked, rounded as MAE's code does."""
    over, under = (1 - config.mask_ratio).as_integer_ratio()
    if under <= EXACT:  # such as 3/4: integer arithmetic, which formulas can take too
        return prod(config.grid) * over // under
    return int(prod(config.grid) * (1 - config.mask_ratio))


def masking_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """Masking must leave a patch."""
    if not visible(config):
        message = f"mask_ratio {config.mask_ratio} masks all {prod(config.grid)} patches: use a smaller ratio"
        yield ("mask_ratio",), Message("no-patches-left", message)


def masked(config: EncoderConfig, stream: Stream) -> Stream:
    """The visible patches, as one row because they are no longer in grid order, with a class token in front."""
    return replace(stream, grid=(1, visible(config)), extra_tokens=1)


def decoded(config: EncoderConfig, stream: Stream) -> Stream:
    """All patches, with mask tokens in place of those that were masked."""
    return replace(stream, grid=config.grid)


def predicted(config: EncoderConfig, stream: Stream) -> Stream:
    """The pixels of each patch; the class token is dropped."""
    return Stream(stream.grid, config.patch_size**2 * config.in_chans)


def of_masking(_config: EncoderConfig) -> tuple[str, ...]:
    """The other outputs of masking: the order that restores the patches, and the mask."""
    return ("pos_embed",)


def of_decoder(config: EncoderConfig) -> tuple[str, ...]:
    """What MAE's forward keeps until its end."""
    return (*of_masking(config), *transitions_called("mae_decoder", config))


def decoder_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """The decoder restores masked patches, so the encoder must mask them."""
    if config.pos_embed != "mae":
        message = (
            f"transition mae_decoder needs pos_embed mae, which masks the patches, not {config.pos_embed}"
        )
        yield ("stages", at, "transition"), Message("needs-pos-embed", message)


def prediction_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """The prediction needs the decoder before it."""
    if config.stages[-1].transition != "mae_decoder":
        message = "neck mae_pred needs transition mae_decoder in the last stage"
        yield ("neck",), Message("neck-needs-transition", message)


NECKS = {
    "mae_pred": Part(
        summary="MAE's prediction: LayerNorm and a linear layer to the pixels of each patch.",
        takes=SEQUENCE,
        stream=predicted,
        taps=of_decoder,
        problems=prediction_problems,
    )
}


def _of_transformers(config: EncoderConfig) -> list[Wanted]:
    """What ViTModel, ViTMAEModel and ViTMAEForPreTraining have: blocks of one kind in each stage."""
    return [
        (("patch_embed",), config.patch_embed == "patch", "patch_embed patch"),
        (("pre_norm",), not config.pre_norm, "no norm before the blocks"),
        (("reg_tokens",), config.reg_tokens == 0, "no register tokens"),
        *(
            (("stages", number, "layer_scale"), not stage.layer_scale, "no LayerScale")
            for number, stage in enumerate(config.stages)
        ),
        *(
            (("stages", number, "mlp"), stage.mlp == "gelu", "mlp gelu")
            for number, stage in enumerate(config.stages)
        ),
        *_of_one_kind(config),
    ]


def _of_one_kind(config: EncoderConfig) -> Iterator[Wanted]:
    for number, stage in enumerate(config.stages):
        yield ("stages", number, "overrides"), not stage.overrides, "blocks of one kind"


def _of_encoder(config: EncoderConfig) -> list[Wanted]:
    """What ViTModel and ViTMAEModel have: one stage, and always a norm after it."""
    return [
        (("norm",), config.norm, "norm: true"),
        (("stages",), len(config.stages) == 1, "one stage"),
    ]


def _of_masking(config: EncoderConfig) -> list[Wanted]:
    """What MAE has in transformers, which makes positions of sines for a square of patches."""
    return [
        (("image_size",), config.image_size[0] == config.image_size[1], "images that are square"),
        *(
            (
                ("stages", number, "embed_dim"),
                not stage.embed_dim % OF_POSITIONS,
                "widths that are multiples of 4",
            )
            for number, stage in enumerate(config.stages)
        ),
    ]


PATCHES_OF_TIMM = {False: "patch", True: "patch_no_bias"}
"""The patches that timm has without a norm before the blocks, and with it."""


def held_by_timm(config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """Its forward has a name for what enters the blocks until the last of them has run."""
    return {f"blocks.{config.stages[0].depth - 1}": ("pre_norm" if config.pre_norm else "pos_embed",)}


def vit_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """What ViTModel cannot run: it takes positions that it resizes for those of a square."""
    height, width = config.pretrain_grid
    is_square = config.pretrain_grid == config.grid or height == width
    square = ("pretrain_image_size",), is_square, "a pretrain_image_size that is square"
    wanted = [square, *_of_encoder(config), *_of_transformers(config)]
    yield from cannot_run("ViTModel of transformers", wanted)


def vit_of_timm(config: EncoderConfig) -> Iterator[Problem]:
    """What VisionTransformer cannot run. It has a norm before the blocks only with patches without a bias, as CLIP has."""
    of_class_token = config.pos_embed == "class_token"
    wanted: list[Wanted] = [
        (("stages",), len(config.stages) == 1, "one stage"),
        (
            ("pre_norm",) if config.pre_norm else ("patch_embed",),
            config.patch_embed == PATCHES_OF_TIMM[config.pre_norm],
            "patches without a bias and pre_norm, or neither",
        ),
        (
            ("reg_tokens",),
            not (of_class_token and config.reg_tokens),
            "pos_embed patches or tokens for register tokens",
        ),
        *_of_one_kind(config),
        (("image_size",), not any(config.dropped), "images of whole patches"),
        (("pretrain_image_size",), config.pretrain_grid == config.grid, "positions made for image_size"),
    ]
    yield from cannot_run("VisionTransformer of timm", wanted)


def mae_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """What ViTMAEModel cannot run."""
    wanted = [*_of_encoder(config), *_of_masking(config), *_of_transformers(config)]
    yield from cannot_run("ViTMAEModel of transformers", wanted)


def pretraining_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """What ViTMAEForPreTraining cannot run: its loss is of whole patches, and its decoder has the qkv_bias of the encoder."""
    stages = config.stages
    wanted: list[Wanted] = [
        (("image_size",), not any(config.dropped), "images of whole patches"),
        (("norm",), not config.norm, "no norm after the blocks"),
        (("stages",), len(stages) == ENCODER_AND_DECODER, "two stages"),
        (("stages", len(stages) - 1, "qkv_bias"), stages[-1].qkv_bias == stages[0].qkv_bias, "one qkv_bias"),
    ]
    wanted += [*_of_masking(config), *_of_transformers(config)]
    yield from cannot_run("ViTMAEForPreTraining of transformers", wanted)


VIT = Implementation(
    library="transformers",
    model="",
    versions=("5.23", "5.24"),
    blocks=("plain",),
    necks=(),
    kernels=("sdpa", "eager"),
    difference="has a projection each for queries, keys and values, and holds the tokens that enter the blocks to the end; its "
    "eager attention copies them and holds the probabilities, and its softmax is in float32",
    holds=lambda _: {"norm": ("pos_embed",)},
)


def fixed_positions(_config: EncoderConfig) -> str:
    """MAE's positions are waves, which nothing trains."""
    return "Its positions are fixed sines and cosines: compute them for the new grid."


FAMILY = Family(
    blocks=BLOCKS,
    pos_embeds={
        **TOKENS,
        "mae": Part(
            summary="MAE's: fixed vectors, patches masked at mask_ratio, a class token in front.",
            keys=frozenset({"mask_ratio"}),
            other_sizes=fixed_positions,
            makes=SEQUENCE,
            stream=masked,
            problems=masking_problems,
        ),
    },
    transitions={
        "mae_decoder": Transition(
            summary="The start of MAE's decoder: LayerNorm, a linear layer, mask tokens, the order of patches restored.",
            takes=SEQUENCE,
            stream=decoded,
            taps=of_masking,
            problems=decoder_problems,
        )
    },
    necks=NECKS,
    implementations=(
        replace(
            VIT, model="ViTModel", pos_embeds=("class_token",), necks=("none",), problems=vit_of_transformers
        ),
        replace(
            VIT,
            model="ViTMAEModel",
            pos_embeds=("mae",),
            necks=("none",),
            difference=f"{VIT.difference}; it returns the mask and the order of patches",
            holds=lambda _: {"norm": ("pos_embed", first_output("pos_embed"))},
            problems=mae_of_transformers,
        ),
        replace(
            VIT,
            model="ViTMAEForPreTraining",
            pos_embeds=("mae",),
            necks=("mae_pred",),
            difference=VIT.difference.replace("to the end", "until the decoder begins"),
            holds=lambda _: {"transitions.1": (first_output("pos_embed"),)},
            problems=pretraining_of_transformers,
        ),
        Implementation(
            library="timm",
            model="VisionTransformer",
            versions=("1.0.31",),
            blocks=("plain", "clip"),
            necks=("none",),
            pos_embeds=("class_token", "patches", "tokens"),
            kernels=("sdpa", "eager"),
            difference="holds the tokens that enter the blocks until the last of them has run",
            holds=held_by_timm,
            problems=vit_of_timm,
        ),
    ),
)
