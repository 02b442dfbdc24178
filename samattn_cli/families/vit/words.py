"""SAM's and ViTDet's plain encoder: patches, windows over a padded grid, SAM's neck."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...encoder.placement import UNSHIFTED
from ...encoder.slots import Block, Family, Implementation, Part, PatchEmbed, Problem, Wanted, cannot_run
from ...errors import Message

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


def sam_of_transformers(config: EncoderConfig) -> Iterator[Problem]:
    """SamVisionModel has one number for an image's side and one for a window's, and few of the keys of a block."""
    height, width = config.image_size
    squares = (("image_size",), height == width, "images that are square")
    yield from cannot_run("SamVisionModel of transformers", (squares, *sam_of_libraries(config)))


def sam_of_timm(config: EncoderConfig) -> Iterator[Problem]:
    """VisionTransformerSAM has one number for a window's side, and few of the keys of a block."""
    yield from cannot_run("VisionTransformerSAM of timm", sam_of_libraries(config))


def held_by_timm(config: EncoderConfig) -> dict[str, tuple[str, ...]]:
    """Its forward has a name for what enters the blocks until the last of them has run."""
    embedded = "patch_embed" if config.pos_embed == "none" else "pos_embed"
    return {f"blocks.{config.stages[0].depth - 1}": (embedded,)}


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
    patch_embeds={"patch": PatchEmbed(summary="Non-overlapping patches by a convolution.")},
    pos_embeds={"learned": Part(summary="One learned vector per patch.")},
    necks={
        "sam": Part(
            summary="1x1 and 3x3 convolutions to out_chans, a LayerNorm after each.",
            keys=frozenset({"out_chans"}),
        )
    },
    implementations=(
        Implementation(
            library="transformers",
            model="SamVisionModel",
            versions=("5.23",),
            blocks=("vit",),
            necks=("sam",),
            kernels=("sdpa", "eager"),
            difference="adds the terms of relative positions, copies their sum and holds the copy; its eager softmax is in float32",
            problems=sam_of_transformers,
        ),
        Implementation(
            library="timm",
            model="VisionTransformerSAM",
            versions=("1.0.31",),
            blocks=("vit",),
            necks=("sam",),
            kernels=("sdpa", "eager"),
            difference="adds the terms of relative positions, copies their sum and holds the copy and what enters the blocks; "
            "calls torch's attention without a batch",
            holds=held_by_timm,
            problems=sam_of_timm,
        ),
    ),
)
