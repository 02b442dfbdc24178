"""What transformers writes differently in SAM 2's encoder; the rest is `tape.py`.

Source: transformers 5.23.0, models/sam2/modeling_sam2.py: window_partition, window_unpartition, Sam2MultiScaleAttention,
Sam2MultiScaleBlock, Sam2VisionNeck, Sam2SinePositionEmbedding, Sam2VisionModel. Shapes: B batch, H x W grid, C width, h heads,
d = C / h, M tokens of a window (or the grid).
"""

from __future__ import annotations

from functools import partial

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.sine import sine_positions
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import crop, cut_from_copy, join
from ...units import ITEM_BYTES
from . import tape as reference

WIDE = ITEM_BYTES["float32"]


class Code(reference.Code):
    """The steps of a block as in transformers, whose names hold what attention returned and what its MLP reads."""

    holds = {"attended": "block", "norm2": "block", "of_heads": "attention"}  # noqa: RUF012 - never changed

    def partition(self, x: Tensor, layer: LayerConfig) -> Tensor:
        """Cut from a copy even where there is nothing to pad."""
        windows = cut_from_copy(self.tape, x, layer.windows)
        self.tape.free(x)
        return windows

    def unpartition(self, windows: Tensor, layer: LayerConfig) -> Tensor:
        """The padding is dropped by a copy."""
        joined = join(self.tape, windows, layer.windows.pooled(layer.q_stride))
        out = crop(self.tape, joined, layer.out_grid)
        if joined.storage not in {out.storage, windows.storage}:
            self.tape.free(joined)
        self.drop("attended", windows, keep=out)
        return out

    def before_pooling(self, q: Tensor, k: Tensor) -> None:
        """A softmax over heads by heads of each token, which nothing reads; attention holds it, and with it its graph."""
        tape = self.tape
        scaled = tape.scale("of_heads.scale", q.made_by(None))
        products = tape.matmul("of_heads", scaled, k.made_by(None).transpose(-2, -1))  # (B, M, h, h)
        tape.free(scaled)
        wide = tape.softmax("of_heads.softmax", products, in_float32=True)
        out = tape.cast("of_heads.cast", wide, q.item_bytes)
        tape.free(products)
        tape.free(wide, keep=out)
        if q.grad_fn is not None:  # in a frozen block before all that trains there is no graph
            tape.graph_of(out, scaled, *(() if out is wide else (wide,)))
        self.drop("of_heads", out)


def sam2_fpn(tape: Tape, x: Tensor, part: PartConfig, *finer: Tensor) -> tuple[Tensor, ...]:
    """The outputs of four stages, (B, H, W, C) each -> three maps (B, out_chans, H, W) from the finest to the coarsest.

    Then the positions of each map, and x itself: the model returns its last hidden state too. A decoder reads the maps
    and their positions; no gradient comes for the others. Positions of the coarsest level are made and dropped.
    """
    fine, middle, coarse = finer
    encodings = Encodings(tape)
    coarsest = lateral(tape, 0, x, part)
    unused = encodings.of(0, coarsest)
    finer_lateral = lateral(tape, 1, coarse, part)
    wide = tape.cast("to_float32", coarsest, WIDE)
    enlarged = tape.interpolate("top_down", wide, finer_lateral.shape[2:], "nearest")
    tape.free(wide, keep=coarsest)
    top_down = tape.cast("from_float32", enlarged, finer_lateral.item_bytes)
    tape.free(enlarged, keep=top_down)
    summed = tape.add("add_top_down", finer_lateral, top_down)
    of_summed = encodings.of(1, summed)
    tape.free(finer_lateral)
    second = lateral(tape, 2, middle, part)
    of_second = encodings.of(2, second)
    first = lateral(tape, 3, fine, part)
    of_first = encodings.of(3, first)
    tape.replaced_in_cache(encodings.cached, encodings.first_at)
    tape.free(coarsest, top_down, unused)
    return first, second, summed, of_first, of_second, of_summed, x.made_by(None)


class Encodings:
    """The sine encodings of the places of maps, the last of which a cache holds as it was made.

    Autocast computes powers in float32, so that encodings are made in float32 and copied into the type of their map.

    Attributes:
        cached: the last.
        first_at: the number of the operation that made the first: until then the cache has had the last of the pass before.
    """

    cached: Tensor
    first_at = 0

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._copied: tuple[Tensor, ...] = ()  # the last, if only the cache holds it

    def of(self, level: int, x: Tensor) -> Tensor:
        """The encoding of a map, in its type: (B, C, H, W)."""
        self.cached = sine_positions(self.tape, level, x)
        self.first_at = self.first_at or self.tape.last
        self.tape.free(*self._copied)
        out = self.tape.cast(f"position_encoding.{level}.to_map", self.cached, x.item_bytes)
        self._copied = () if out is self.cached else (self.cached,)
        return out


def lateral(tape: Tape, number: int, x: Tensor, part: PartConfig) -> Tensor:
    """(B, H, W, C) -> (B, out_chans, H, W), by way of the type of the weights, which autocast does not change."""
    wide = tape.cast(f"convs.{number}.to_weights", x.permute(0, 3, 1, 2), tape.item_bytes)
    out = tape.conv2d(f"convs.{number}.conv", wide, part.config.out_chans, 1)
    tape.free(wide, keep=x)
    return out


BLOCKS = {"hiera": partial(reference.block, code=Code)}
NECKS = {"sam2_fpn": sam2_fpn}
