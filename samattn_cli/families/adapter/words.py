"""SAM's encoder fine-tuned: blocks to which Medical SAM Adapter or LoRA add weights that may be trained alone."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt, prod
from typing import TYPE_CHECKING

from ...encoder.keys import Pair
from ...encoder.slots import Block, Family, Problem

if TYPE_CHECKING:
    from ...encoder.model import EncoderConfig
    from ...encoder.plan import LayerConfig


def depth_grid(slices: int) -> Pair:
    """The slices of a volume as a grid (rows, columns) of fewer rows than columns, as square as can be: 96 is 8 x 12.

    Never a square: 4 is 1 x 4. Source: `closest_numbers` of Medical SAM Adapter's adapter_block.py.
    """
    rows = next(rows for rows in range(isqrt(slices - 1), 0, -1) if slices % rows == 0)
    return rows, slices // rows


def problems_of_adapters(config: EncoderConfig, number: int) -> Iterator[Problem]:
    """What is wrong with the adapters of a stage."""
    stage, batch = config.stages[number], config.run.batch_size
    if stage.adapter_dim < 1:
        yield (
            ("stages", number, "adapter_ratio"),
            f"adapter_ratio {stage.adapter_ratio} leaves the adapters of width {stage.embed_dim} no hidden channel",
        )
    if stage.depth_slices == 1:
        yield (
            ("stages", number, "depth_slices"),
            "depth_slices 1 is no volume: use 2 or more, or 0 for images",
        )
    elif stage.depth_slices and batch % stage.depth_slices:
        yield (
            ("stages", number, "depth_slices"),
            f"depth_slices {stage.depth_slices} does not divide run.batch_size {batch}: the batch is the slices of whole volumes",
        )


def runs_of_windows(layer: LayerConfig) -> str:
    """Over depth it is runs of windows, one after the other and over the ends of images, that are taken together.

    Where an image is one window those are the slices of a volume: tokens at the same place of the grid.
    """
    slices = layer.stage.depth_slices
    if not slices or prod(layer.windows.counts) == 1:
        return ""
    taken = (
        f"depth_slices {slices} takes runs of {slices} windows together, whatever image and place they are of"
    )
    return f"{taken}; with 0 images are taken one by one"


FAMILY = Family(
    blocks={
        "sam_adapter": Block(
            summary="SAM's block with Medical SAM Adapter's bottlenecks after attention, next to the MLP and over depth; "
            "windows are cut before norm1.",
            keys=frozenset({"rel_pos", "adapter_ratio", "depth_slices"}),
            rel_pos=("none", "decomposed"),
            kernels=("eager", "sdpa", "fused"),
            adapters=True,
            mixes_else=runs_of_windows,
            problems=problems_of_adapters,
        ),
        "sam_lora": Block(
            summary="SAM's block with low-rank terms (LoRA) added to queries and values, as SAMed has them.",
            keys=frozenset({"rel_pos", "lora_rank"}),
            rel_pos=("none", "decomposed", "joint"),
            kernels=("eager", "sdpa", "fused"),
            adapters=True,
        ),
    },
)
