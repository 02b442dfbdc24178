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
from .shipped import asked_for, text_of


@guarded
def devices(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[DEVICE]",
            help="Print its YAML; all are listed if left out.",
            autocompletion=complete.shipped_devices,
        ),
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            autocompletion=complete.shipped_devices,
            help="Likewise: print the YAML of a device.",
        ),
    ] = None,
) -> None:
    """List the devices that --device knows, or print one, with its sources, as the start of your own.

    Times, and what fits, are by the figures of such a file. `measure` and `sweep --measure` run on a real device instead.

    Examples:

      samattn devices

      samattn devices h100 > my_gpu.yaml
    """
    asked = asked_for(name, show)
    if asked is None:
        options = terminal_options()
        shown = len(HEADERS) if options.width >= WIDE else len(HEADERS) - 1
        rows = tuple(_row(name)[:shown] for name in device_files())
        emit(
            render_tables([Table("", HEADERS[:shown], rows, NOTE, text_columns=(0, 7))], options), "terminal"
        )
    else:
        emit(text_of(*asked, device_files(), "device"), "yaml")


HEADERS = ("device", "memory", "bandwidth", "float32", "TF32", "bfloat16", "float16", "what it is")
WIDE = 120  # with room for the descriptions
NOTE = "Peaks of products in FLOP/s, dense, by the datasheet that each file names; none was measured unless it says calibrated."


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
