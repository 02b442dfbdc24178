"""Placements of an encoder's global layers side by side: what each costs, and how information flows."""

from __future__ import annotations

from collections.abc import Sequence

from ...device.model import Device
from ...encoder.model import EncoderConfig
from ...errors import UsageError
from ...reports.placements import PlacementReport, Placements
from ..flow import flow_of
from ..passes import Passes
from ..progress import Tell, silent
from .exhaustive import Asked, search_report
from .reported import report_of
from .strategies import Placement, placements


def compare_placements(
    config: EncoderConfig,
    asked: Sequence[str] = (),
    *,
    device: Device | None = None,
    search: Asked | None = None,
    tell: Tell = silent,
) -> Placements:
    """Compare placements of an encoder's global layers with its own.

    Args:
        config: the encoder.
        asked: strategies ("even:4") and lists of layers ("7,15,23,31"); the usual strategies if there are none.
        device: where it is to run, for times.
        search: what to search every placement for, if anything; then no strategies but those that were asked for.
        tell: is told how many placements a search has looked at.

    Raises:
        UsageError: for what does not fit the encoder, and for a search that is too large.
    """
    own = Placement.of(config, "own")
    compared, unfit = placements(config, asked) if asked or search is None else ((own,), ())
    try:
        flow_of(config)
        missing = ""
    except UsageError as error:
        missing = str(error)
    own_figures = Passes(config, device).figures
    reported = tuple(
        PlacementReport(**report_of(each, own_figures, device, with_flow=not missing)) for each in compared
    )
    if search is not None and missing:
        raise UsageError(f"a search compares how information flows, and {missing}")
    found = None if search is None else search_report(config, reported[0], search, device, tell)
    name = None if device is None else device.name
    return Placements(
        config=config, device=name, placements=reported, unfit=unfit, flow_missing=missing, search=found
    )
