"""What the GPUs of a training step send each other, and how long that takes on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..reports.analysis import CollectiveReport, CommunicationReport

if TYPE_CHECKING:  # at run time only where something is sent, because they take long to import
    from ..device.collectives import Link
    from ..device.exposed import Exposure
    from ..encoder.model import Section
    from ..tape.communication import Collective
    from .passes import Passes


def communication(passes: Passes) -> CommunicationReport | None:
    """The communication of a step; None if there is none."""
    if passes.sent is None or not (sent := passes.sent.all):
        return None
    link, exposure = link_of(passes), exposure_of(passes)
    return CommunicationReport(
        gpus=passes.config.run.gpus,
        collectives=tuple(_of_kind(kind, sent) for kind in dict.fromkeys(each.kind for each in sent)),
        sent_bytes=passes.sent.bytes,
        link=None if link is None else link.name,
        link_bytes_per_s=None if link is None else link.bytes_per_s,
        ms=None if exposure is None else exposure.ms,
        exposed_ms=None if exposure is None else exposure.exposed_ms,
    )


def link_of(passes: Passes) -> Link | None:
    """What limits the rings of all GPUs; None without a device, or if a bandwidth is not known."""
    if passes.device is None:
        return None
    from ..device.collectives import link_between

    return link_between(passes.config.run.gpus, passes.device.interconnect)


def exposure_of(passes: Passes, compute_ms: Mapping[Section, float] | None = None) -> Exposure | None:
    """The time of the communication of a step, and what of it no compute hides; None as for `link_of`.

    The time of compute is that of the passes, if it is not given.
    """
    if passes.device is None or passes.sent is None:
        return None
    from ..device.exposed import exposure

    segments = [segment.name for segment in passes.forward_of_run.segments]
    times = passes.section_ms if compute_ms is None else compute_ms
    return exposure(passes.sent, segments, times, passes.device.interconnect)


def _of_kind(kind: str, sent: Sequence[Collective]) -> CollectiveReport:
    own = [each for each in sent if each.kind == kind]
    return CollectiveReport(
        kind, len(own), sum(each.nbytes for each in own), sum(each.sent_bytes for each in own)
    )
