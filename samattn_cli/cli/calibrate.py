"""`samattn calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Message, OutputError
from ..units import format_bytes, format_percent
from . import complete
from .output import emit, guarded, say, terminal_options, working, write_file
from .output_files import check_writable
from .parameters import device_name

if TYPE_CHECKING:  # not when another command starts
    from ..device.calibration import CalibrationReport

EXTENSIONS = (".yaml", ".yml")
MOST_APART = 0.1
"""As a share of a device's memory. A larger difference between the file and the machine means another device."""


@guarded
def calibrate(
    device: Annotated[
        str,
        typer.Argument(
            metavar="DEVICE",
            help="The measured device: h100, ... (see `samattn devices`) or a YAML file.",
            callback=device_name,
            autocompletion=complete.devices,
        ),
    ],
    recordings: Annotated[
        list[Path],
        typer.Argument(metavar="RECORDING...", help="Recordings by `samattn measure`, all of one device."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write a device file with the calibrated section to FILE.yaml, for `analyze --device`.",
        ),
    ] = None,
) -> None:
    """Fit the efficiency factors of a device to measurements, and report how well they predict.

    Half of the measured cases are used to fit the factors, the other half to compute the error of predicted latencies.
    Measure encoders of different sizes, with several batch sizes and kernels. Without -o the calibrated section is
    printed, to paste into a device file.

    Examples:

      samattn measure sam_vit_b sam_vit_h --resolutions 512,768,1024 --batch-size 1,4 -o h100.json

      samattn calibrate h100 h100.json -o my_h100.yaml

      samattn analyze sam_vit_l --device my_h100.yaml
    """
    from ..device.load import device_of, device_source
    from ..device.write import calibrated_yaml, with_calibrated
    from ..reports.recording import read_recording
    from ..studies.calibrate import calibrate_device

    if output:
        _check(output)
    source = device_source(device)
    datasheet = device_of(source)
    by_file = {path: read_recording(path) for path in recordings}
    with working(f"calibrating {datasheet.name}"):
        report = calibrate_device(datasheet, by_file)
    text = with_calibrated(source, report.device.calibrated)
    _show(report)
    if output:
        write_file(output, text, "yaml")
    else:
        emit(f"\n{calibrated_yaml(report.device.calibrated)}", "yaml")


def _check(output: Path) -> None:
    if output.suffix.lower() not in EXTENSIONS:
        raise OutputError(
            "unknown-extension", f"-o {output}: the extension must be {' or '.join(EXTENSIONS)}"
        )
    check_writable(output)


def _show(report: CalibrationReport) -> None:
    from ..device.calibration import MOST_ERROR
    from ..render.calibration import render_calibration

    here, there = report.device.memory_bytes, report.measured_on.total_bytes
    if abs(there - here) > MOST_APART * here:
        what = f"has {format_bytes(there)} of memory, and {report.device.name} has {format_bytes(here)}"
        warning = f"samattn: {report.measured_on.device} {what}; is it the same device?"
        say(Message("device-mismatch", warning), style="yellow")
    for unit in report.loose:
        what = f"median error of {format_percent(unit.calibrated.median)}, more than {format_percent(MOST_ERROR)}"
        warning = f"samattn: {unit.unit} has a {what}; measure more cases, with no other load on the device"
        say(Message("large-error", warning), style="yellow")
    emit(render_calibration(report, terminal_options()), "terminal")
