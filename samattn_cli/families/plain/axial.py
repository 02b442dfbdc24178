"""How vision transformers with axial rotary positions make their angles, by the words of their blocks.

Source: timm 1.0.31, models/eva.py and layers/pos_embed_sincos.py, RotaryEmbeddingCat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ...encoder.keys import Pair
    from ...encoder.plan import LayerConfig


class Angles(NamedTuple):
    """The angles of an axial rotary position, whose channels turn in pairs, half of them by the row, half by the column.

    Attributes:
        theta: the base of the frequencies.
        rows_first: the first half of the pairs turns by the row.
        side: the places along an axis of any grid run from 0 to this; None: by one from patch to patch.
        after_token: places begin with 1 where a token is in front of the patches.
        all_biases: keys have a bias too, as queries and values do.
        eps: of the norms.
    """

    theta: float
    rows_first: bool
    side: int | None
    after_token: bool
    all_biases: bool
    eps: float

    def steps(self, grid: Pair) -> tuple[float, float]:
        """The distance of patches down and to the right."""
        return (1.0, 1.0) if self.side is None else (self.side / grid[0], self.side / grid[1])

    def first(self, layer: LayerConfig) -> int:
        """The place of the first patch along each axis."""
        return int(self.after_token and layer.extra_tokens > 0)


AXIAL = {
    "eva": Angles(10_000.0, rows_first=True, side=16, after_token=False, all_biases=False, eps=1e-6),
    "eva02": Angles(10_000.0, rows_first=True, side=16, after_token=False, all_biases=False, eps=1e-6),
    "eva02_clip": Angles(10_000.0, rows_first=True, side=16, after_token=False, all_biases=False, eps=1e-6),
    "rope": Angles(100.0, rows_first=False, side=None, after_token=False, all_biases=True, eps=1e-6),
    "pe": Angles(10_000.0, rows_first=False, side=None, after_token=True, all_biases=True, eps=1e-5),
}
OF_EVA02 = ("eva02", "eva02_clip")
"""Those with a projection each for queries, keys and values, and a norm in SwiGLU."""
