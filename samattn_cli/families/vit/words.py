"""SAM's and ViTDet's plain encoder: patches, windows over a padded grid, SAM's neck."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from ...encoder.placement import UNSHIFTED
from ...encoder.slots import (
    Block,
    Family,
    Implementation,
    Part,
    PatchEmbed,
    Problem,
    Wanted,
    a_patch_of_pretraining,
    cannot_run,
    ends_of_stages,
    whole_patches,
)
from ...errors import Message
from ...records import replace

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig


def rel_pos_problems(config: EncoderConfig, at: int) -> Iterator[Problem]:
    """A size of relative-position tables needs such tables."""
    stage = config.stages[at]
    if stage.rel_pos == "none" and stage.rel_pos_grid is not None:
        message = "rel_pos_grid is the size of relative-position tables, but rel_pos is none: remove rel_pos_grid, or set rel_pos"
        yield ("stages", at, "rel_pos_grid"), Message("unused-key", message)


def sam_of_libraries(config: EncoderConfig) -> Iterator[Wanted]:
    """What SAM has in transformers and in timm."""
    stage = config.stages[0]
    yield from (
        (("patch_embed",), config.patch_embed == "patch", "patch_embed patch"),
        (("pos_embed",), config.pos_embed in {"learned", "none"}, "pos_embed learned or none"),
        (("pretrain_image_size",), config.pretrain_grid == config.grid, "positions made for image_size"),
        (("pre_norm",), not config.pre_norm, "no norm before the blocks"),
        (("norm",), not config.norm, "no norm after the blocks"),
        (("stages",), len(config.stages) == 1, "one stage"),
        (("stages", 0, "overrides"), not stage.overrides, "blocks of one kind"),
        (("stages", 0, "rel_pos"), stage.rel_pos in {"decomposed", "none"}, "rel_pos decomposed or none"),
        (
            ("stages", 0, "rel_pos_grid"),
            stage.rel_pos_grid is None or stage.rel_pos_grid == config.grid,
            "tables made for the grid",
        ),
        (("stages", 0, "shift_size"), stage.shift_size in {None, UNSHIFTED}, "windows without a shift"),
        (
            ("stages", 0, "window_size"),
            stage.window_size[0] == stage.window_size[1],
            "windows that are square",
        ),
        (("stages", 0, "num_windows_side"), stage.num_windows_side is None, "window_size"),
    )


def sam_of_transformers(config: EncoderConfig, model: str = "SamVisionModel") -> Iterator[Problem]:
    """The model has one number for an image's side and one for a window's, and few of the keys of a block."""
    height, width = config.image_size
    squares = (("image_size",), height == width, "images that are square")
    yield from cannot_run(f"{model} of transformers", (squares, *sam_of_libraries(config)))


def sam_of_timm(config: EncoderConfig) -> Iterator[Problem]:
    """VisionTransformerSAM has one number for a window's side, and few of the keys of a block."""
    yield from cannot_run("VisionTransformerSAM of timm", sam_of_libraries(config))


def held_by_timm(config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """Its forward has a name for what enters the blocks until the last of them has run."""
    embedded = "patch_embed" if config.pos_embed == "none" else "pos_embed"
    return {f"blocks.{config.stages[0].depth - 1}": (embedded,)}


def global_blocks(config: EncoderConfig) -> Iterator[str]:
    """The names of the blocks that attend globally. It does not need the plan, because the plan needs it for taps."""
    before = 0
    for stage, after in zip(config.stages, (1 + last for last in ends_of_stages(config)), strict=True):
        for index in range(before, after):
            if index in stage.global_attn_indexes or stage.at(index).placement.is_global:
                yield f"blocks.{index}"
        before = after


def last_block(config: EncoderConfig) -> str:
    """The name of the block whose output is the stream that leaves the blocks."""
    return f"blocks.{ends_of_stages(config)[-1]}"


def kept_for_hq(config: EncoderConfig) -> tuple[str, ...]:
    """The blocks whose outputs SAM-HQ returns, except the last block, whose output is the stream itself."""
    return tuple(name for name in global_blocks(config) if name != last_block(config))


def hq_problems(config: EncoderConfig, _at: int) -> Iterator[Problem]:
    """SAM-HQ's decoder reads the output of the first global block."""
    if not kept_for_hq(config):
        message = "neck sam_hq returns the outputs of global blocks: make a block before the last one global, or use neck sam"
        yield ("neck",), Message("neck-does-not-fit", message)


SAM_OF_TRANSFORMERS = Implementation(
    library="transformers",
    model="SamVisionModel",
    versions=("5.23", "5.24"),
    blocks=("vit",),
    necks=("sam",),
    kernels=("sdpa", "eager"),
    difference="adds the terms of relative positions, copies their sum and holds the copy; its eager softmax is in float32",
    problems=sam_of_transformers,
)

FAMILY = Family(
    blocks={
        "vit": Block(
            summary="SAM's and ViTDet's block: pre-norm, windows over a padded grid, decomposed or joint positions.",
            keys=frozenset({"rel_pos", "rel_pos_grid", "shift_size", "num_windows_side"}),
            rel_pos=("none", "decomposed", "joint"),
            kernels=("eager", "sdpa", "fused"),
            problems=rel_pos_problems,
        )
    },
    patch_embeds={
        "patch": PatchEmbed(
            summary="Non-overlapping patches by a convolution.", multiple=whole_patches, axes=(2, 3)
        )
    },
    pos_embeds={
        "learned": Part(
            summary="One learned vector per patch of pretrain_image_size; another grid takes the nearest ones in each forward.",
            keys=frozenset({"pretrain_image_size"}),
            problems=a_patch_of_pretraining,
        )
    },
    necks={
        "sam": Part(
            summary="1x1 and 3x3 convolutions to out_chans, a LayerNorm after each.",
            keys=frozenset({"out_chans"}),
        ),
        "sam_hq": Part(
            summary="SAM-HQ's: SAM's neck, which also returns what leaves each global block; its decoder reads the first.",
            keys=frozenset({"out_chans"}),
            taps=kept_for_hq,
            problems=hq_problems,
        ),
    },
    implementations=(
        SAM_OF_TRANSFORMERS,
        replace(
            SAM_OF_TRANSFORMERS,
            model="SamHQVisionModel",
            necks=("sam_hq",),
            problems=partial(sam_of_transformers, model="SamHQVisionModel"),
        ),
        Implementation(
            library="timm",
            model="VisionTransformerSAM",
            versions=("1.0.31",),
            blocks=("vit",),
            necks=("sam",),
            kernels=("sdpa", "eager"),
            difference="adds the terms of relative positions, copies their sum and holds the copy and what enters the blocks; "
            "calls torch's attention without a batch, for which torch before 2.14 makes the matrix of scores (run.torch)",
            holds=held_by_timm,
            problems=sam_of_timm,
        ),
    ),
)
