"""`samattn devices`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..encoder.presets import devices as device_files
from ..render.elements import Table
from ..render.formats.terminal import render_tables
from ..units import format_bytes, format_count
from . import complete
from .output import emit, guarded, terminal_options
from .shipped import text_of, wanted_name


@guarded
def devices(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[DEVICE]",
            help="Print the YAML of this device; default: list all.",
            autocompletion=complete.shipped_devices,
        ),
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            autocompletion=complete.shipped_devices,
            help="The same as the argument DEVICE.",
        ),
    ] = None,
) -> None:
    """List the devices that --device knows, or print one, with its sources, as a starting point for your own.

    Predicted times, and whether an encoder fits, are computed from such a file. `measure` and `sweep --measure` run on
    the real device instead.

    Examples:

      samattn devices

      samattn devices h100 > my_gpu.yaml
    """
    wanted = wanted_name(name, show)
    if wanted is None:
        options = terminal_options()
        shown = len(HEADERS) if options.width >= WIDE else len(HEADERS) - 1
        rows = tuple(_row(name)[:shown] for name in device_files())
        links = tuple(filter(None, map(_links, device_files())))
        tables = [
            Table("", HEADERS[:shown], rows, NOTE, text_columns=(0, 7)),
            Table("Between GPUs, per GPU and direction", LINK_HEADERS, links, LINK_NOTE, text_columns=(0,)),
        ]
        emit(render_tables(tables, options), "terminal")
    else:
        emit(text_of(*wanted, device_files(), "device"), "yaml")


HEADERS = ("device", "memory", "bandwidth", "float32", "TF32", "bfloat16", "float16", "what it is")
WIDE = 120  # the width at which the descriptions fit
NOTE = "Peak dense FLOP/s of matrix products, from the datasheet that each file names. Only devices marked calibrated were measured."

LINK_HEADERS = ("device", "NVLink", "PCIe", "network", "GPUs of a node")
LINK_NOTE = (
    "Peaks, from the datasheet that each file names. Where a figure is left out, there is none or it is not known: the network "
    "depends on the server."
)


def _links(name: str) -> tuple[str, ...]:
    """The bandwidths between several of a device; () if none is known."""
    from ..device.load import load_device

    links = load_device(name).interconnect
    rates = (links.nvlink_bytes_per_s, links.pcie_bytes_per_s, links.network_bytes_per_s)
    if not any(rates):
        return ()
    shown = ["" if rate is None else format_count(int(rate), "B/s") for rate in rates]
    if links.nvlink_gpus is not None:
        shown[0] += f" ({links.nvlink_gpus} GPUs)"
    return (name, *shown, str(links.gpus_per_node))


def _row(name: str) -> tuple[str, ...]:
    from ..device.load import load_device

    device = load_device(name)
    peaks = device.peak_flops
    flops = (peaks.float32, peaks.tf32, peaks.bfloat16, peaks.float16)
    return (
        name,
        format_bytes(device.memory_bytes),
        format_count(int(device.bandwidth_bytes_per_s), "B/s"),
        *("" if peak is None else format_count(int(peak)) for peak in flops),
        device.description,
    )
