"""A comparison of placements of an encoder's global layers: the cost of each, and how information flows."""

from __future__ import annotations

from collections.abc import Sequence

from ...device.model import Device
from ...encoder.model import EncoderConfig
from ...errors import Message, UsageError, code_of
from ...reports.placements import PlacementReport, Placements
from ..arguments import check_asked
from ..flow import flow_of
from ..passes import Passes
from ..progress import Tell, silent
from .exhaustive import Asked, search_report
from .reported import report_of
from .strategies import ComparedEncoder, placements


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
        asked: strategies ("even:4") and lists of layers ("7,15,23,31"); if empty, the default strategies.
        device: the device that it runs on, for times.
        search: the question of a search, if any; then the default strategies are left out.
        tell: is called with the number of placements that a search has examined.

    Raises:
        UsageError: for a placement that is not valid for the encoder, and for a search that is too large.
    """
    check_asked("compare_placements", config, device)
    own = ComparedEncoder.of(config, "own")
    compared, unfit = placements(config, asked) if asked or search is None else ((own,), ())
    try:
        flow_of(config)
        missing = ""
    except UsageError as error:
        missing = error.message
    own_figures = Passes(config, device).figures
    reported = tuple(
        PlacementReport(**report_of(each, own_figures, device, with_flow=not missing)) for each in compared
    )
    if search is not None and missing:
        raise UsageError(Message(code_of(missing), f"a search needs receptive fields: {missing}"))
    report = None if search is None else search_report(config, reported[0], search, device, tell)
    name = None if device is None else device.name
    return Placements(
        config=config, device=name, placements=reported, unfit=unfit, flow_missing=missing, search=report
    )
