"""What transformers writes differently in ViTDet's encoder; the rest is `tape.py`.

Source: transformers 5.23.0, models/vitdet/modeling_vitdet.py: window_partition, get_rel_pos, VitDetAttention, VitDetLayer.
"""

from __future__ import annotations

from ...encoder.plan import LayerConfig
from ...tape.rel_pos import positions_by_host
from ...tape.storage import Dim
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import cut_from_copy
from ..vit import tape as vit
from . import tape as reference


class Code(vit.Code):
    """The steps of a block as in transformers.

    The attention has names for the scores and the probabilities, and the layer for the tuple that the attention returns;
    the terms of rows have the name of what they are made from.
    """

    holds = {"scores": "attention", "returned": "layer"}  # noqa: RUF012 - never changed

    def partition(self, x: Tensor, layer: LayerConfig) -> Tensor:
        """Cut from a copy even where there is nothing to pad."""
        return cut_from_copy(self.tape, x, layer.windows)

    def positions(self, name: str, size: Dim, made_for: Dim, d: Dim) -> Tensor:
        """By an index on the host, from a table that is resized if it has another size."""
        return positions_by_host(self.tape, name, size, made_for, d)


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """A layer of maps, whose gradients are views because they have their channels first: (B, H, W, C) -> the same."""
    return _by_maps(reference.block(tape, _by_maps(x), layer, kernel, code=Code))


def _by_maps(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W) -> (B, H, W, C)."""
    return x.permute(0, 3, 1, 2).permute(0, 2, 3, 1)


BLOCKS = {"vitdet": block}
