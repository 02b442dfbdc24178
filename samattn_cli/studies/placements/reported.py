"""One placement as it is reported, from its passes and its flow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...device.model import Device
from ...figures import always, names
from ...reports.analysis import Figures
from ...reports.placements import LayerCost, VsOwn
from ..flow import flow_of
from ..layers import LAYER, segments_of
from ..passes import Passes
from .results import published_result
from .strategies import ComparedEncoder


def report_of(
    placement: ComparedEncoder, own: Figures, device: Device | None, *, with_flow: bool = True
) -> dict[str, Any]:
    """The fields of a `PlacementReport`: figures of a real pass, compared with the config's own placement."""
    passes = Passes(placement.config, device)
    figures = passes.costs
    return {
        "names": placement.names,
        "global_layers": placement.layers,
        "figures": figures,
        "vs_own": _vs_own(figures, own),
        "layers": tuple(_layers(passes)),
        "flow": flow_of(placement.config) if with_flow else None,
        "published": published_result(placement.config, placement),
    }


def _vs_own(figures: Figures, own: Figures) -> VsOwn:
    ratios = {}
    for figure in always("encoder"):
        ours, theirs = getattr(figures, figure.name), getattr(own, figure.name)
        ratios[figure.over_own] = ours / theirs if ours and theirs else None
    return VsOwn(**ratios)


def _layers(passes: Passes) -> Iterator[LayerCost]:
    for at in segments_of(passes).values():
        if at.block is not None:
            costs = {name: LAYER[name](at) for name in names(always("layer"))}
            yield LayerCost(index=at.layer.index, attention=LAYER["attention"](at), **costs)
