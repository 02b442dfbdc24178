"""`samattn verify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EXIT_DIFFERS, EXIT_ERROR, Message, SamattnError, UsageError
from ..files.load import Override, load_config
from ..render import PAGES, TEXTS
from ..render.crosscheck import STATUS_STYLES
from ..reports.verification import Verification, Verified
from . import complete
from .output import deliver, guarded, say, terminal_options, working
from .output_files import output_files
from .parameters import (
    Outputs,
    SomeConfigs,
    choices,
    chosen,
    read_stdin_once,
)
from .run_options import LaidOver, with_run_options

if TYPE_CHECKING:
    from ..encoder.model import EncoderConfig
    from ..reports.recording import Recording

FORMATS = (*TEXTS, *PAGES)
Format = Enum("Format", choices(tuple(TEXTS)), type=str)  # type: ignore[misc]
FORMAT_HELP = "terminal (or text), json, csv or markdown; default: terminal."


@guarded
@with_run_options("mode", "optimizer")
def verify(
    configs: SomeConfigs = None,
    laid_over: LaidOver = (),
    every_layer: Annotated[
        bool,
        typer.Option(
            "--every-layer/--one-of-each",
            help="Run every block of the real stack, or only one of each kind.",
        ),
    ] = True,
    measured: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RECORDING",
            help="Instead, compare predicted memory with recordings by `samattn measure`; more may follow as FILE.json. "
            "Exits with 1 if an error on CUDA exceeds 1 %. On a CPU, whose kernels differ, errors are only shown.",
        ),
    ] = None,
    dry: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="Instead, run the encoders dry on a device of `samattn devices` or a device file, and compare predicted "
            "memory with what torch's own CUDA code allocates; no GPU is needed. Exits with 1 if an error exceeds 1 %.",
            autocompletion=complete.devices,
        ),
    ] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Instead, predict figures of GPU memory that others published; takes no config. Needs neither torch nor a GPU. Exits "
            "with 1 if a judged group of figures is outside its bound.",
        ),
    ] = False,
    format_: Annotated[
        Format | None, typer.Option("--format", "-f", metavar="FORMAT", help=FORMAT_HELP)
    ] = None,
    output: Outputs = None,
) -> None:
    """Cross-check the derived numbers of encoders against the real PyTorch stack.

    It compares parameters by name and shape, the counts of fvcore and FlopCounterMode by module and kind, and the FLOPs
    and memory of each operation, byte for byte, in an inference forward and a training step. Exits with 0 if all are
    equal, 1 if any differ, 2 if a check could not run.

    Examples:

      samattn verify sam_vit_b sam_vit_l sam_vit_h

      samattn verify encoders/*.yaml --dtype bfloat16 -o verdicts.json -o verdicts.html

      samattn verify --measured h100.json

      samattn verify sam_vit_b --dry rtx_4090 --set run.mode=training

      samattn verify --published -o published.csv
    """
    formats = output_files(output, FORMATS)
    shown = chosen(format_)
    if published:
        _alone([*(configs or ()), *(override.where for override in laid_over)], measured, dry)
        _judge_published(shown, formats)
        return
    read_stdin_once(configs or ())
    if measured and dry is not None:
        raise UsageError("conflicting-options", "give --measured or --dry, not both")
    if measured:
        _judge(measured, configs or (), laid_over, shown, formats)
    elif not configs:
        raise UsageError("missing-argument", "give a config to verify, or --measured RECORDING")
    elif dry is not None:
        _judge_dry(dry, configs, laid_over, shown, formats)
    else:
        _crosscheck(configs, laid_over, shown, formats, every_layer=every_layer)


def _crosscheck(
    configs: Sequence[str],
    laid_over: Sequence[Override],
    shown: str | None,
    formats: Mapping[Path, str],
    *,
    every_layer: bool,
) -> None:
    """Check encoders against the real stack."""
    from ..studies.verify import how_to_install

    report = Verification(tuple(_verify(config, laid_over, every_layer) for config in configs))
    if formats and not shown:
        _say_verdicts(report)
    deliver(report, shown, formats, terminal_options())
    if missing := how_to_install():
        say(Message("cross-check-not-run", f"the cross-check cannot run: {missing}"), style="red")
    if report.status != "exact":
        raise typer.Exit(EXIT_DIFFERS if report.status == "differs" else EXIT_ERROR)


def _alone(others: Sequence[str], measured: object, dry: str | None) -> None:
    """Refuse what --published does not take: its encoders and their settings are those of the published figures.

    Raises:
        UsageError: if there is any.
    """
    options = [name for name, given in (("--measured", measured), ("--dry", dry is not None)) if given]
    if given := [*options, *others]:
        raise UsageError(
            "conflicting-options",
            f"--published takes no {given[0]}: it predicts the runs that were published; leave one of them out",
        )


def _judge_published(shown: str | None, formats: Mapping[Path, str]) -> None:
    """Predict what others published."""
    from ..studies.published_memory import published_memory

    with working("predicting published figures"):
        report = published_memory()
    deliver(report, shown, formats, terminal_options())
    if not report.is_within:
        raise typer.Exit(EXIT_DIFFERS)


def _say_verdicts(report: Verification) -> None:
    """Print the worst verdict of each config on standard error, for a report that goes to a file."""
    for result in report.results:
        say(
            f"{result.config}: {result.error or f'cross-check {result.status}'}",
            style=STATUS_STYLES[result.status],
        )


def _verify(reference: str, laid_over: Sequence[Override], every_layer: bool) -> Verified:
    from ..studies.verify import verify as crosscheck

    try:
        config = load_config(reference, laid_over)
    except SamattnError as error:
        return Verified(reference, error=str(error))
    with working(f"cross-checking {reference}"):
        return Verified(reference, crosscheck(config, every_layer=every_layer))


def _judge(
    measured: Sequence[Path],
    arguments: Sequence[str],
    laid_over: Sequence[Override],
    shown: str | None,
    formats: Mapping[Path, str],
) -> None:
    """Compare predictions with the recordings of --measured and those among the arguments."""
    from ..reports.recording import read_recording

    more = [Path(name) for name in arguments if name.endswith(".json")]
    configs = [load_config(name, laid_over) for name in arguments if not name.endswith(".json")]
    _say_judgement({path: read_recording(path) for path in (*measured, *more)}, configs, shown, formats)


def _judge_dry(
    device: str,
    references: Sequence[str],
    laid_over: Sequence[Override],
    shown: str | None,
    formats: Mapping[Path, str],
) -> None:
    """Run encoders dry, and compare predictions with the recording."""
    from ..reports.recording import Recording
    from ..studies.measure import device_fingerprint, measure_case
    from .measure import measured_in_turn

    configs = [load_config(reference, laid_over) for reference in references]
    target = f"dry:{device}"
    recording = Recording(fingerprint=device_fingerprint(target))
    for line, _, case in measured_in_turn(configs, partial(measure_case, device=target)):
        recording = recording.with_case(case)
        say(line)
    _say_judgement({Path(target): recording}, configs, shown, formats)


def _say_judgement(
    recordings: Mapping[Path, Recording],
    configs: Sequence[EncoderConfig],
    shown: str | None,
    formats: Mapping[Path, str],
) -> None:
    from ..studies.judge import judge

    judgement = judge(recordings, configs)
    deliver(judgement, shown, formats, terminal_options())
    if not judgement.is_close:
        raise typer.Exit(EXIT_DIFFERS)
