"""The answer of `samattn compare-placements`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..encoder.model import EncoderConfig
from ..figures import always, names, with_keys
from ..version import __version__
from . import SCHEMA_VERSION
from .analysis import Figures
from .flow import Flow


@dataclass(frozen=True, kw_only=True)
@with_keys((figure.over_own for figure in always("encoder")), "float | None")
class VsOwn:
    """A placement's figures over those of the config's own; below 1 is cheaper.

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
    attention: Literal["window", "global"]


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """What others published for a strategy, as printed, on a model of theirs: no prediction for this encoder."""

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
        names: what asked for it: "own", strategies, lists of layers; none for one that a search found.
        global_layers: the layers that attend over their whole grid.
        figures: what it costs.
        vs_own: against the config's own.
        layers: what its layers cost.
        flow: how information flows; None where it is not the same for every image.
        published: what was published for its strategy.
    """

    names: tuple[str, ...]
    global_layers: tuple[int, ...]
    figures: Figures
    vs_own: VsOwn
    layers: tuple[LayerCost, ...]
    flow: Flow | None
    published: PublishedResult | None = None


@dataclass(frozen=True, kw_only=True)
class FrontPlacement(PlacementReport):
    """A placement that no other beats. `ties` placements are alike in cost and facts, this one among them."""

    ties: int


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """Every placement of some numbers of global layers, and those that no other beats.

    Attributes:
        choices: how many layers can be windowed or global.
        numbers: how many of them were made global.
        ruled_out: the numbers of which even the cheapest placement is beyond the budget.
        budget: the limits.
        cost: the metric that is compared; the less the better.
        facts: the facts of flow that are compared; the less the better.
        searched: placements that were looked at.
        within: those within the budget.
        front: those of them that no other is as good as in all that is compared and better than in one.
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
    within: int
    front: tuple[FrontPlacement, ...]
    own_within: bool
    own_is_beaten: bool
    beaten_by: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Placements:
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
