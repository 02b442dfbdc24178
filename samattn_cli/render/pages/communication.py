"""What the GPUs of a training step send each other, as a table."""

from __future__ import annotations

from ...reports.analysis import CommunicationReport, DeviceReport
from ...units import format_bytes, format_count, format_ms
from ..elements import Table

NETWORK = "network"
CARDS = (
    " That rate is the sum of a node's network cards, each of which serves a ring of its own (`samattn devices` lists the rate "
    "of one GPU)."
)
HEADERS = ("collective", "calls", "tensors", "each GPU sends")


def sent_table(sent: CommunicationReport, device: DeviceReport | None) -> Table:
    """The collectives of a step by kind, and how long they take."""
    rows = [
        (
            each.kind.replace("_", "-"),
            str(each.calls),
            format_bytes(each.bytes),
            format_bytes(each.sent_bytes),
        )
        for each in sent.collectives
    ]
    if len(rows) > 1:
        rows.append(("all", "", "", format_bytes(sent.sent_bytes)))
    title = f"Communication of {sent.gpus} GPUs in a step"
    return Table(title, HEADERS, tuple(rows), "" if device is None else _time(sent, device.name))


def _time(sent: CommunicationReport, device: str) -> str:
    if sent.ms is None or sent.exposed_ms is None:
        return (
            f"How long that takes is not known: the file of {device} has no bandwidth between {sent.gpus} GPUs "
            "(interconnect; see `samattn devices`)."
        )
    return (
        f"On {device}, {_over(sent)}{format_ms(sent.ms)}, of which {format_ms(sent.exposed_ms)} are not hidden by compute and "
        f"are not in the time of a step.{CARDS if sent.link == NETWORK else ''}"
    )


def _over(sent: CommunicationReport) -> str:
    """What limits the rings, and at how many bytes a second."""
    if sent.link is None:
        return ""
    rate = format_count(sent.link_bytes_per_s or 0, "B/s")
    return (
        f"over the network, {rate} a node: " if sent.link == NETWORK else f"over {sent.link}, {rate} a GPU: "
    )
