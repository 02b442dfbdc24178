"""The answer of `samattn compare-placements`."""

from __future__ import annotations

from typing import Literal

from ..encoder.model import EncoderConfig
from ..encoder.placement import Kind
from ..figures import always, names, with_keys
from ..records import dataclass
from ..version import __version__
from . import SCHEMA_VERSION
from .analysis import Costs
from .flow import Flow
from .shown import Shown


@dataclass(frozen=True, kw_only=True)
@with_keys((figure.over_own for figure in always("encoder")), "float | None")
class VsOwn:
    """A placement's figures divided by those of the config's own placement; below 1 it is cheaper.

    It has a key for each figure of an encoder that is always shown, such as `flops_ratio`.
    """


@dataclass(frozen=True, kw_only=True)
@with_keys(names(figure for figure in always("layer") if figure.needs), "float | None")
@with_keys(names(figure for figure in always("layer") if not figure.needs), "int | None")
class LayerCost:
    """What a layer of a placement costs: times are those of the run's mode, peaks the most live while it runs.

    It has a key for each figure of a layer that is always shown, such as `flops`.
    """

    index: int
    attention: Kind


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """What others published for a strategy, as printed, on their model. It does not predict this encoder."""

    strategy: str
    model: str
    task: str
    measures: tuple[str, ...]
    figures: tuple[str, ...]
    source: str
    address: str


@dataclass(frozen=True, kw_only=True)
class PlacementReport:
    """One placement.

    Attributes:
        names: what it was asked for by: "own", strategies, lists of layers; () if a search found it.
        global_layers: the layers that attend over their whole grid.
        figures: what it costs.
        vs_own: compared with the config's own placement.
        layers: what its layers cost.
        flow: how information flows; None where it is not the same for every image.
        published: what was published for its strategy.
    """

    names: tuple[str, ...]
    global_layers: tuple[int, ...]
    figures: Costs
    vs_own: VsOwn
    layers: tuple[LayerCost, ...]
    flow: Flow | None
    published: PublishedResult | None = None


@dataclass(frozen=True, kw_only=True)
class FrontPlacement(PlacementReport):
    """A placement on the Pareto front. `ties` placements are equal in cost and facts, including this one."""

    ties: int


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """A search of every placement with some numbers of global layers, and its Pareto front.

    Attributes:
        choices: how many layers can be windowed or global.
        numbers: how many of them were made global.
        ruled_out: the numbers of which even the cheapest placement is beyond the budget.
        budget: the limits.
        cost: the metric that is compared; the lower, the better.
        facts: the facts of flow that are compared; the lower, the better.
        searched: placements that were looked at.
        refused: placements of those numbers that the encoder cannot have, and `why_refused`.
        within: those within the budget.
        front: the Pareto front: no other placement within the budget is at least as good in everything, and better in something.
        own_within: whether the config's own placement is within the budget.
        own_is_beaten: whether one on the front beats the config's own placement.
        beaten_by: the global layers of each that does.
    """

    choices: int
    numbers: tuple[int, ...]
    ruled_out: tuple[int, ...]
    budget: tuple[str, ...]
    cost: str
    facts: tuple[str, ...] = ("first_full_context", "longest_without_global")
    searched: int
    refused: int = 0
    why_refused: str = ""
    within: int
    front: tuple[FrontPlacement, ...]
    own_within: bool
    own_is_beaten: bool
    beaten_by: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Placements(Shown):
    """The answer: the config's own placement first.

    `unfit` are the strategies that this encoder cannot have, and why; `flow_missing` is why there are no facts of flow.
    """

    config: EncoderConfig
    device: str | None
    placements: tuple[PlacementReport, ...]
    unfit: tuple[str, ...] = ()
    flow_missing: str = ""
    search: SearchReport | None = None
    kind: Literal["placements"] = "placements"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__

    @property
    def own(self) -> PlacementReport:
        """The config's own placement."""
        return self.placements[0]
