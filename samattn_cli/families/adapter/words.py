"""SAM's encoder for fine-tuning: blocks with weights added by Medical SAM Adapter or LoRA, which may be trained alone."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt, prod
from typing import TYPE_CHECKING

from ...encoder.keys import Pair
from ...encoder.slots import Block, Family, Problem
from ...errors import Message

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig
    from ...encoder.plan import LayerConfig


def depth_grid(slices: int) -> Pair:
    """The slices of a volume as a grid (rows, columns), as square as possible with fewer rows than columns: 96 is 8 x 12.

    It is never a square: 4 is 1 x 4. Source: `closest_numbers` of Medical SAM Adapter's adapter_block.py.
    """
    rows = next(rows for rows in range(isqrt(slices - 1), 0, -1) if slices % rows == 0)
    return rows, slices // rows


def problems_of_adapters(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """What is wrong with the adapters of a stage."""
    stage, batch = config.stages[number], config.run.batch_size
    if stage.adapter_dim < 1:
        yield (
            ("stages", number, "adapter_ratio"),
            Message(
                "no-channels-left",
                f"adapter_ratio {stage.adapter_ratio} gives the adapters no hidden channels at embed_dim "
                f"{stage.embed_dim}: use a larger ratio",
            ),
        )
    if stage.depth_slices == 1:
        yield (
            ("stages", number, "depth_slices"),
            Message("not-a-volume", "depth_slices 1 is not a volume: use 2 or more, or 0 for images"),
        )
    elif stage.depth_slices and batch % stage.depth_slices:
        yield (
            ("stages", number, "depth_slices"),
            Message(
                "not-divisible",
                f"depth_slices {stage.depth_slices} does not divide run.batch_size {batch}: a batch holds the slices of "
                "whole volumes",
            ),
        )


def runs_of_windows(layer: LayerConfig) -> str:
    """Attention over depth joins runs of consecutive windows, across the borders of images too.

    If an image is one window, a run is the slices of a volume, and tokens at the same place of the grid attend to each
    other.
    """
    slices = layer.stage.depth_slices
    if not slices or prod(layer.windows.counts) == 1:
        return ""
    return (
        f"depth_slices {slices} joins runs of {slices} windows, from any image and any place in it; with depth_slices 0 "
        "each image is processed by itself"
    )


FAMILY = Family(
    blocks={
        "sam_adapter": Block(
            summary="SAM's block with Medical SAM Adapter's bottlenecks after attention, next to the MLP and over depth; "
            "windows are cut before norm1.",
            keys=frozenset({"rel_pos", "adapter_ratio", "depth_slices", "num_windows_side"}),
            rel_pos=("none", "decomposed"),
            kernels=("eager", "sdpa", "fused"),
            adapters=True,
            mixes_else=runs_of_windows,
            problems=problems_of_adapters,
        ),
        "sam_lora": Block(
            summary="SAM's block with low-rank terms (LoRA) added to queries and values, as in SAMed.",
            keys=frozenset({"rel_pos", "lora_rank", "num_windows_side"}),
            rel_pos=("none", "decomposed", "joint"),
            kernels=("eager", "sdpa", "fused"),
            adapters=True,
        ),
    },
)
