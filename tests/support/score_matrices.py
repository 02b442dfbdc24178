"""The size of a layer's score matrices worked out from where it attends: what the Tape's are set against."""

from __future__ import annotations

from itertools import product
from math import prod

from samattn_cli.encoder.plan import LayerConfig
from samattn_cli.tape.segments import ForwardPass


def score_elements(layer: LayerConfig) -> int:
    """Numbers in the score matrices of one head of one image: queries by keys, over all windows, padding included.

    A layer that attends over channels has a row and a column for each channel of a head. Where a block attends over the slices of volumes too, each of its tokens has a row for those as well.
    """
    if layer.over_channels:
        return (layer.stage.embed_dim // layer.stage.num_heads) ** 2
    if not layer.placement.attends:
        return 0
    axes = (((side, often), (rest, 1 if rest else 0)) for side, often, rest in layer.windows)
    reach = layer.placement.reach_over(layer.grid)
    over_grid = 0
    for sides in product(*axes):  # the sides of windows along each axis, and how often they are there
        size, often = zip(*sides, strict=True)
        keys = prod(side + by for side, by in zip(size, reach, strict=True))
        over_grid += prod(often) * _of_window(layer, prod(size), keys)
    return over_grid + prod(layer.padded_grid) * layer.stage.depth_slices


def _of_window(layer: LayerConfig, area: int, keys: int) -> int:
    """Of one window of `area` queries, and so many keys."""
    extra = layer.extra_tokens if layer.is_global else layer.extra_tokens // prod(layer.cut)
    return (area // layer.q_stride**2 + extra) * (keys + extra)


def assert_scores_are_those_of_the_layers(passed: ForwardPass) -> None:
    """What the operations say that they make, against the number of queries and keys, by heads and images."""
    config = passed.config
    for segment in passed.segments:
        if segment.layer is not None:
            heads = config.run.batch_size * segment.layer.stage.num_heads
            assert segment.recording.scores == heads * score_elements(segment.layer)
            made = [op for op in segment.recording.ops if op.scores]
            assert {op.name.rpartition(".")[2] for op in made} <= {"scores", "sdpa"}
