"""How information flows through an encoder: what its tokens see, layer by layer.

Facts of structure alone, of which tokens can reach which; they say nothing of accuracy.
"""

from __future__ import annotations

from ..encoder.keys import Size
from ..encoder.placement import Kind
from ..records import dataclass


@dataclass(frozen=True, kw_only=True)
class LayerFlow:
    """The receptive fields of the tokens that leave a layer, counted in tokens of the first grid.

    A token sees another if it depends on it through the layers so far. Padding is not a token, and class tokens are not
    counted; tokens that a mask of -100 keeps apart do not see each other.

    Attributes:
        name: its module in the real stack.
        index: its place among the layers.
        stage: the stage that it is of.
        attention: how the config has it.
        mixes_all: whether each token attends to all of its grid: a global layer, or a window that covers the grid.
        grid: tokens (high, wide) that leave it.
        smallest: tokens seen by the token that sees fewest.
        mean: tokens seen, the mean over all tokens that leave.
        largest: tokens seen by the token that sees most.
        smallest_share: the smallest over the tokens of the first grid.
        mean_share: the mean over them.
        largest_share: the largest over them.
        extent: rows and columns of the first grid that the largest receptive field spans, and fills.
        sees_all: whether every token sees the whole first grid.
    """

    name: str
    index: int
    stage: int
    attention: Kind
    mixes_all: bool
    grid: Size
    smallest: int
    mean: float
    largest: int
    smallest_share: float
    mean_share: float
    largest_share: float
    extent: Size
    sees_all: bool


@dataclass(frozen=True, kw_only=True)
class FlowFacts:
    """Facts about a placement of global layers. "Global" here is every layer with `mixes_all`.

    Attributes:
        first_full_context: the first layer after which every token sees the whole first grid; None: there is none.
        longest_without_global: the most consecutive layers without a global one.
        global_share: the share of layers after which every token sees the whole first grid.
        refined_after_last_global: layers after the last global one; None: there is no global one.
    """

    first_full_context: int | None
    longest_without_global: int
    global_share: float
    refined_after_last_global: int | None


@dataclass(frozen=True, kw_only=True)
class Flow(FlowFacts):
    """The flow of an encoder.

    Attributes:
        first_grid: tokens (high, wide) that enter the first layer: those of the patch embedding; where MAE masks, those
            that stay, as one row.
        layers: what their tokens see, in order.
    """

    first_grid: Size
    layers: tuple[LayerFlow, ...]
