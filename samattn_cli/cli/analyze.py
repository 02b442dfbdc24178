"""`samattn analyze`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import EXIT_DIFFERS, EXIT_ERROR, Message, UsageError
from ..records import replace
from ..render import PAGES, PICTURES, TABLES, TEXTS, TRACES, render
from ..render.options import Options
from ..shell import command
from ..units import format_ms
from ..verdicts import CrossCheck
from .ignored import say_ignored, say_not_drawn
from .output import emit, guarded, say, terminal_options, working, write, write_file
from .output_files import check_apart, check_writable, output_files
from .parameters import (
    Config,
    Memory,
    Outputs,
    TextFormat,
    chosen,
    config_of,
    device_of,
    device_option,
    memory_of,
)
from .run_options import LaidOver, with_run_options

if TYPE_CHECKING:
    from ..device.model import Device
    from ..encoder.model import EncoderConfig
    from ..reports.analysis import Analysis

Chart = Literal["layers", "memory"]

FORMATS = (*TEXTS, *PICTURES, *TABLES, *PAGES)
OWN_FORMATS = (*FORMATS, *TRACES)


@guarded
@with_run_options()
def analyze(
    config: Config,
    laid_over: LaidOver = (),
    device: Annotated[
        str | None,
        device_option(
            "Add predicted times, and whether the encoder fits: h100, rtx_4090, ... (see `samattn devices`) or a YAML "
            "file."
        ),
    ] = None,
    memory: Memory = None,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Cross-check against the real PyTorch stack. Default: if torch is installed, once for a config, as the outcome "
            "is kept; with --verify, check anew, and exit 2 if the check cannot run.",
        ),
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Print the answer in short alone: at most 8 lines.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Print every column, exact counts, shares, other image sizes, published figures and the cross-check.",
        ),
    ] = False,
    all_layers: Annotated[bool, typer.Option("--all", help="Show every layer, also identical ones.")] = False,
    ops: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER",
            help="Show the operations of a layer: 7, blocks.7, patch_embed, neck; may repeat.",
        ),
    ] = None,
    chart: Annotated[
        Chart,
        typer.Option(
            help="What a picture (-o FILE.svg, .png, .pdf, .html) shows: layers: the cost of each; memory: what is live over the "
            "pass, by kind, allocation by allocation."
        ),
    ] = "layers",
    snapshot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the predicted history of allocations on --device as a snapshot of torch.cuda.memory, "
            "for PyTorch's memory viewer (pytorch.org/memory_viz).",
        ),
    ] = None,
    format_: TextFormat = None,
    output: Outputs = None,
) -> None:
    """Report what each layer of an encoder costs, and how much its windows save.

    Counts and memory are derived from shapes, then compared with fvcore, FlopCounterMode and traced memory of the real
    PyTorch stack. With -o and without --format, nothing is printed. Exits with 1 if the comparison finds a difference.

    Examples:

      samattn analyze sam_vit_h

      samattn analyze my_encoder.yaml --set window_size=8 --ops 0

      samattn analyze sam_vit_h --image-size 2048 --device rtx_4090 --attention fused --dtype bfloat16

      samattn analyze sam_vit_b --mode training --checkpointing -o report.json -o report.md

      samattn analyze sam_vit_b --device rtx_4090 --chart memory -o memory.svg

      samattn analyze sam_vit_b --mode training --device h100 --snapshot snapshot.pickle

      samattn analyze sam_vit_b --device h100 -o trace=trace.json
    """
    from ..studies.analyze import analyze as analyze_config
    from ..studies.verify import how_to_install

    formats = output_files(output, OWN_FORMATS)
    if snapshot is not None:
        check_apart(snapshot, "--snapshot", formats)
        check_writable(snapshot, "--snapshot")
    encoder = config_of(config, laid_over)
    where = device_of(device)
    room = memory_of(memory, device)
    if where is None and "trace" in formats.values():
        raise UsageError(
            "needs-device", "-o trace=FILE is when each operation runs: add --device, such as --device h100"
        )
    history = None if snapshot is None else _snapshot(encoder, where)
    to_terminal = not formats and chosen(format_) in {None, "terminal"}
    report = analyze_config(
        encoder,
        device=where,
        memory=room,
        verify=False,
        sizes=full or not to_terminal,
        timeline=chart == "memory" or any(name in PAGES for name in formats.values()),
        spans="trace" in formats.values(),
    )
    say_ignored([encoder.run], where)
    if chart == "memory":
        say_not_drawn(chart, [*formats.values(), chosen(format_) or ""], also_in=["json"])
    options = replace(
        terminal_options(all_layers=all_layers, ops=layer_names(report, ops or ())),
        brief=brief,
        full=full,
        chart=chart,
        verify=_to_verify(config, is_changed=bool(laid_over)) if verify is False else "",
    )
    shown = chosen(format_) or (None if formats else "terminal")
    start = _start(report, options) if shown == "terminal" else ""
    try:
        if verify is not False:
            found, cost = _cross_checked(encoder, anew=verify is True)
            report = replace(report, crosscheck=found)
            options = replace(options, verify=cost * (found.status == "exact" and _has_terminal()))
    except KeyboardInterrupt:
        report = replace(report, crosscheck=CrossCheck.not_run("skipped", "interrupted"))
        raise
    finally:
        _finish(report, start, shown, formats, options)
        if snapshot is not None and history is not None:
            write_file(snapshot, history, option="--snapshot")
    if shown != "terminal" and verify is not False:
        _say_verdict(report.crosscheck, quiet=shown is not None)
    if verify and (missing := how_to_install()):
        say(Message("cross-check-not-run", f"the cross-check cannot run: {missing}"), style="red")
    finish(report.crosscheck, insist=verify is True)


def _has_terminal() -> bool:
    """Whether standard output is a terminal, which shows what the cross-check cost."""
    return sys.stdout.isatty()


def _cross_checked(config: EncoderConfig, *, anew: bool) -> tuple[CrossCheck, str]:
    """The verdict on a config, and what it cost; one that was kept unless `anew`."""
    from ..studies.verify import verify as crosscheck
    from .kept_verdicts import keep, kept

    if not anew and (verdict := kept(config)) is not None:
        return verdict, "checked before"
    start = perf_counter()
    with working("cross-checking against the real stack (--no-verify leaves it out)"):
        verdict = crosscheck(config, every_layer=False)
    keep(config, verdict)
    return verdict, f"took {format_ms(1000 * (perf_counter() - start))}"


def _snapshot(config: EncoderConfig, device: Device | None) -> bytes:
    from ..studies.passes import Passes
    from ..studies.snapshot import snapshot_of

    return snapshot_of(Passes(config, device))


def _start(report: Analysis, options: Options) -> str:
    """Print what the cross-check cannot change, so that nobody waits for it; return it."""
    from ..render.formats.terminal import render_start

    start = render_start(report, options)
    emit(start, "terminal")
    return start


def _finish(
    report: Analysis, start: str, shown: str | None, formats: Mapping[Path, str], options: Options
) -> None:
    """Print the report after its start, and write its files, even if standard output is closed.

    A page shows what is live over the pass; other formats have that only if it was asked for.
    """
    plain = report if options.chart == "memory" else replace(report, timeline=None)
    pages = {path: name for path, name in formats.items() if name in PAGES}
    try:
        if shown:
            emit(render(plain, shown, options).removeprefix(start), shown, begun=start)
    finally:
        try:
            write(plain, {path: name for path, name in formats.items() if path not in pages}, options)
        finally:
            write(report, pages, options)


def _to_verify(config: str, *, is_changed: bool) -> str:
    """How to cross-check after --no-verify: `samattn verify`, unless options change the config."""
    return "leave out --no-verify" if is_changed else command("verify", config)


def _say_verdict(crosscheck: CrossCheck, *, quiet: bool) -> None:
    """Print the verdict on standard error, for a report that is printed elsewhere; `quiet`: only if it is not exact."""
    from ..render.crosscheck import STATUS_STYLES, verdicts

    lines = [line for line in verdicts(crosscheck) if line.status != "exact"]
    if not lines and not quiet:
        say("cross-check exact")
    for line in lines:
        name = "" if line.name == "cross-check" else f"{line.name}: "
        what = "; ".join(line.differences) or line.text
        say(f"cross-check {line.status}: {name}{what}", style=STATUS_STYLES[line.status])


def finish(crosscheck: CrossCheck, *, insist: bool) -> None:
    """Exit with the code of the verdict; a skipped cross-check passes unless `insist`."""
    if crosscheck.status == "differs":
        raise typer.Exit(EXIT_DIFFERS)
    if crosscheck.status == "failed" or (crosscheck.status == "skipped" and insist):
        raise typer.Exit(EXIT_ERROR)


def layer_names(report: Analysis, words: Sequence[str]) -> list[str]:
    """The names of layers and parts that are given by index or by name.

    Raises:
        UsageError: for one that the encoder does not have.
    """
    from ..studies.layers import no_such_place

    places = [*(layer.name for layer in report.layers), *(part.name for part in report.parts)]
    names = {word: f"blocks.{word}" if word.isdecimal() else word for word in words}
    for word, name in names.items():
        if name not in places:
            inside = next(
                (layer.name for layer in report.layers for op in layer.ops if op.name == word), None
            )
            if inside:
                raise UsageError(
                    "not-a-layer", f"--ops {word}: is an operation; give its layer, such as {inside}"
                )
            raise no_such_place(f"--ops {word}", name, places)
    return list(names.values())
