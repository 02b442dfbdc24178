"""Swin Transformer V2: cosine attention, biases from an MLP on relative positions, norms after attention and MLP.

Source: arXiv:2111.09883 and microsoft/Swin-Transformer, models/swin_transformer_v2.py.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from ...encoder.slots import (
    Block,
    Family,
    Implementation,
    Problem,
    Transition,
    cannot_run,
    ends_of_stages,
    side_or_sides,
)
from ...errors import Message
from ..swin.words import MERGING, clamped, grids_of, merged, of_timm, of_transformers

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig


def held_by_stages(config: "EncoderConfig") -> dict[str, tuple[str, ...]]:
    """What the forward of transformers' encoder has names for: by the part after which it is freed.

    The model names the embeddings; the encoder names what enters a stage, and what left the last block of the stage before.
    """
    lasts = [f"blocks.{index}" for index in ends_of_stages(config)]
    ends = [*(f"transitions.{number}" for number in range(1, len(lasts))), lasts[-1]]
    held = {ends[number]: (ends[number - 1], lasts[number - 1]) for number in range(1, len(ends))}
    return held | {"norm": ("patch_embed",)}


def has_same_windows(config: "EncoderConfig") -> bool:
    """Whether transformers has the windows of Microsoft's code, shifted in the same stages.

    transformers looks at the height of the grid only, which it halves at each stage and rounds down.
    """
    window, height = config.stages[0].window_size[0], config.grid[0]
    for grid in grids_of(config):
        if min(height, window) != min(window, *grid):
            return False
        if (height > window) != all(side > window for side in grid):
            return False
        height = height // 2
    return True


def swinv2_of_transformers(config: "EncoderConfig") -> Iterator[Problem]:
    """Swinv2Model is as SwinModel, without positions that it could add."""
    positions = ("pos_embed",), config.pos_embed == "none", "pos_embed none"
    windows = ("image_size",), has_same_windows(config), "other windows at this size"
    yield from cannot_run("Swinv2Model of transformers", [*of_transformers(config), positions, windows])


def held_by_timm(config: "EncoderConfig") -> dict[str, tuple[str, ...]]:
    """What timm's forward has names for, by the block after which it is freed.

    The model names the patches until the stages have run, and the stages what enters one.
    """
    lasts = [f"blocks.{index}" for index in ends_of_stages(config)]
    held = {last: (before,) for before, last in pairwise(lasts)}
    return held | {lasts[-1]: ("patch_embed", *held.get(lasts[-1], ()))}


def swinv2_of_timm(config: "EncoderConfig") -> Iterator[Problem]:
    """SwinTransformerV2."""
    yield from cannot_run("SwinTransformerV2 of timm", of_timm(config))


def another_window(config: "EncoderConfig") -> str:
    """Biases are from an MLP, which takes offsets in shares of the window of pretraining."""
    ends = ends_of_stages(config)
    sides = ", ".join(side_or_sides(config.layers[index].windows.size) for index in ends)
    return (
        f"At another window_size the weights stay as they are, if pretrained_window_sizes is [{sides}], the windows that they were "
        "trained with."
    )


def key_bias_problems(config: "EncoderConfig", number: int) -> Iterator[Problem]:
    """The bias of keys is a part of that of the qkv projection."""
    stage = config.stages[number]
    if stage.zeroed_key_bias and not stage.qkv_bias:
        message = "zeroed_key_bias needs qkv_bias: true"
        yield ("stages", number, "zeroed_key_bias"), Message("unused-key", message)


FAMILY = Family(
    blocks={
        "swinv2": Block(
            summary="Swin V2's block: like Swin's, with cosine attention, biases from an MLP, norms after attention and MLP.",
            keys=frozenset({"shift_size", "zeroed_key_bias"}),
            kernels=("eager",),
            place=clamped,
            other_sizes=another_window,
            problems=key_bias_problems,
        )
    },
    transitions={
        "patch_merging_v2": Transition(
            summary="Swin V2's: merges 2x2 tokens into one, then a linear layer and LayerNorm.",
            stream=merged,
            slides=MERGING,
        )
    },
    implementations=(
        Implementation(
            library="transformers",
            model="Swinv2Model",
            versions=("5.23", "5.24"),
            blocks=("swinv2",),
            necks=("none",),
            kernels=("eager",),
            difference="has a projection each for queries, keys and values, makes the mask of shifted windows in each block, "
            "adds it twice, holds scores next to probabilities, and each tensor on the way into windows and back; its checkpointing "
            "is of stages",
            holds=held_by_stages,
            checkpoints=("stages",),
            problems=swinv2_of_transformers,
        ),
        Implementation(
            library="timm",
            model="SwinTransformerV2",
            versions=("1.0.31",),
            blocks=("swinv2",),
            necks=("none",),
            kernels=("eager",),
            difference="shifts before it pads, copies tokens to pad them where there is nothing to pad, frees its windows "
            "before the MLP and holds what enters a stage until its end",
            holds=held_by_timm,
            problems=swinv2_of_timm,
        ),
    ),
)
