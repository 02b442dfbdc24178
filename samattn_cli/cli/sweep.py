"""`samattn sweep`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ..encoder.tree import Node
from ..encoder.wording import short
from ..errors import DeviceError, Message, UsageError, code_of, did_you_mean
from ..figures import FIGURES, OF_ENCODER, figure_for_option, listed
from ..files.load import Override, option_where, override_of, versions_as_text
from ..files.yaml12 import parse_yaml
from ..patterns import pattern
from ..render import PAGES, PICTURES, TABLES, TEXTS
from ..units import format_things
from . import complete
from .ignored import say_ignored
from .measure import DEVICE, DEVICES, measurable_devices, measured_in_turn
from .on_ray import GpuType, Ray, check_ray, cluster_at, measured_together, on
from .output import deliver, guarded, say, terminal_options, working
from .output_files import output_files
from .parameters import (
    Memory,
    OrDefaultConfigs,
    Outputs,
    Strict,
    TextFormat,
    axis,
    chosen,
    device_of,
    device_option,
    memory_of,
    or_default,
    overrides,
    read_stdin_once,
    run_option,
)
from .ranges import numbers, sizes, span
from .run_options import Set

if TYPE_CHECKING:
    from ..device.model import Device
    from ..reports.sweep import Sweep
    from ..studies.grid import Grid, Variation

FORMATS = (*TEXTS, *PICTURES, *TABLES, *PAGES)
AXES = "--resolutions, --windows, --batch-sizes, --dtypes, --attention, --modes or --vary KEY=A,B"
MOST_VALUES = 1000
MOST_CASES = 40
NAMES = {"--dtypes": "dtype", "--attention": "attention", "--modes": "mode"}
COUNTED = {"image_size": "--resolutions", "run.batch_size": "--batch-sizes"}
"""Keys that have their own option."""


@guarded
def sweep(
    configs: OrDefaultConfigs = None,
    resolutions: Annotated[
        str | None,
        typer.Option(
            metavar="SIZES", help="Image sizes in pixels: 512,768x1152, or start:stop:step as in 512:4096:64."
        ),
    ] = None,
    windows: Annotated[
        str | None,
        typer.Option(
            metavar="SIZES", help="Window sizes in tokens, for all windowed blocks: 7,14 or 4:32:2."
        ),
    ] = None,
    batch_sizes: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="Images per pass: 1,4,16 or 1:64.")
    ] = None,
    dtypes: Annotated[
        str | None, run_option("dtype", "TYPES", "Types, such as float32,bfloat16.", several=True)
    ] = None,
    attention: Annotated[
        str | None,
        run_option("attention", "KERNELS", "Attention kernels, such as eager,sdpa,fused.", several=True),
    ] = None,
    modes: Annotated[
        str | None,
        run_option("mode", "MODES", "inference, training or both: inference,training.", several=True),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B",
            help="Values of any key, such as mlp_ratio=2,4 or depth=4:24:4; may repeat.",
            autocompletion=complete.settings,
        ),
    ] = None,
    set_: Set = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help=f"Any of {listed(OF_ENCODER)}. Default: flops, attention_bytes, the peak memory of each mode and, with "
            "--device, latency_ms.",
            autocompletion=complete.words(complete.sweep_metrics, several=True),
        ),
    ] = None,
    device: Annotated[
        str | None,
        device_option("Add predicted times, and which points fit: h100, ... or a YAML file."),
    ] = None,
    memory: Memory = None,
    measure: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="Also run the real stack at each point: cuda, cuda:1, cpu or dry:NAME (see `samattn measure`).",
            autocompletion=complete.words(measurable_devices),
        ),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Timed passes per measured point.")
    ] = None,
    max_cases: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help=f"The most points that --measure may run; default: {MOST_CASES}."
        ),
    ] = None,
    ray: Ray = None,
    gpu_type: GpuType = None,
    strict: Strict = False,
    format_: TextFormat = None,
    output: Outputs = None,
) -> None:
    """Compute the cost of encoders over a grid of resolutions, windows, batch sizes and any key of a config.

    Every combination is a point. Each metric is shown next to that of the same encoder with all layers global and with
    all layers windowed. A size that an encoder does not take is left out, which is said on stderr and in the report; with
    --strict it is an error. With -o and without --format, nothing is printed.

    Examples:

      samattn sweep sam_vit_h --resolutions 512,1024,2048

      samattn sweep sam_vit_b sam_vit_l --resolutions 512:4096:64 --metrics flops,peak_bytes -o sweep.csv

      samattn sweep sam_vit_b --resolutions 1024,2048 --windows 7,8,14,16 --device rtx_4090

      samattn sweep sam_vit_b --resolutions 512:4096:256 --memory 24GiB

      samattn sweep sam_vit_b --vary mlp_ratio=2,4 --dtypes float32,bfloat16 --batch-sizes 1:4

      samattn sweep sam_vit_b --resolutions 512:2048:256 --measure cuda --ray
    """
    formats = output_files(output, FORMATS)
    keys = dict(_varied(text) for text in _each_once(vary or ()))
    grid = _grid(
        sizes(*_own_or_vary("--resolutions", resolutions, keys)),
        numbers("--windows", windows, "window sizes"),
        numbers(*_own_or_vary("--batch-sizes", batch_sizes, keys), "batch sizes"),
        [
            ("--dtypes", "run.dtype", dtypes),
            ("--attention", "run.attention", attention),
            ("--modes", "run.mode", modes),
        ],
        keys,
    )
    names = configs or [or_default(None)]
    read_stdin_once(names)
    if len(names) == 1 and not grid.axes(names):
        raise UsageError("nothing-varies", f"nothing varies: give {AXES}, or several configs")
    where, room = device_of(device), memory_of(memory, device)
    wanted = None if metrics is None else _metrics(metrics, where)
    from ..render.pages.sweep_words import set_alike
    from ..studies.sweep import sweep as sweep_over

    _check_measured(measure, len(names) * grid.points, max_cases, repeats)
    _check_ray(measure, ray, gpu_type)
    with working("working out the grid", "points") as tell:
        report = sweep_over(
            names, grid, wanted, laid_over=overrides(set_), device=where, memory=room, tell=tell
        )
    _say_left_out(report, strict=strict)
    say_ignored((config.run for config in report.configs), where)
    if measure:
        report = (
            _measured_on_ray(report, ray, measure, gpu_type, repeats)
            if ray
            else _measured(report, measure, repeats)
        )
    if formats and not format_:  # some formats have figures only
        for sentence in set_alike(report):
            say(f"samattn: {sentence}")
    deliver(report, chosen(format_), formats, terminal_options())


def _say_left_out(report: Sweep, *, strict: bool) -> None:
    """Say which sizes are left out, and why.

    Raises:
        UsageError: with --strict, if any is.
    """
    from ..render.pages.sweep_words import left_out

    for message in left_out(report):
        if strict:
            raise UsageError(Message(code_of(message), f"--strict: {message.removeprefix('left out: ')}"))
        say(Message(code_of(message), f"samattn: {message}"), style="yellow")


def _check_measured(device: str | None, points: int, most: int | None, repeats: int | None) -> None:
    if device is None:
        for option, value in (("--repeats", repeats), ("--max-cases", most)):
            if value is not None:
                raise UsageError(
                    "missing-option", f"{option} {value}: needs --measure, such as --measure cpu"
                )
        return
    most = most or MOST_CASES
    if not DEVICE.fullmatch(device):
        hint = did_you_mean(device, DEVICES)
        raise UsageError("unknown-device", f"--measure {device}: must be cuda, cuda:1, cpu or dry:NAME{hint}")
    if points > most:
        raise UsageError(
            "too-many-cases",
            f"--measure {device}: the grid has {points:,} points, and at most {most:,} are measured by default; use "
            f"larger steps, or --max-cases {points}",
        )


def _check_ray(device: str | None, ray: str | None, gpu_type: str | None) -> None:
    if ray is not None and device is None:
        raise UsageError("missing-option", "--ray: needs --measure, such as --measure cuda")
    check_ray("--measure", device or "", ray, gpu_type)


def _measured_on_ray(
    report: Sweep, address: str, device: str, gpu_type: str | None, repeats: int | None
) -> Sweep:
    from ..studies.sweep_measure import encoders_at, with_measured

    cases = {}
    with _named_measure(), cluster_at(address, device, gpu_type, repeats) as cluster:
        say(f"{format_things(report.points, 'case')} on {on(cluster)}")
        with measured_together(cluster, encoders_at(report)) as measured:
            for line, position, case in measured:
                say(line)
                cases[position] = case
        return with_measured(report, cluster.fingerprint, [cases[row] for row in sorted(cases)])


@contextmanager
def _named_measure() -> Iterator[None]:
    """The option of this command in messages about a device."""
    try:
        yield
    except DeviceError as error:
        message = error.message.replace("--device", "--measure")
        raise DeviceError(Message(code_of(error.message), message)) from None


def _measured(report: Sweep, device: str, repeats: int | None) -> Sweep:
    from ..studies.measure import device_fingerprint, measure_case
    from ..studies.sweep_measure import encoders_at, with_measured

    with _named_measure():
        fingerprint = device_fingerprint(device)
    say(f"{format_things(report.points, 'case')} on {fingerprint}")
    run = partial(measure_case, device=device, repeats=repeats, made_by=fingerprint)
    cases = []
    for line, _, case in measured_in_turn(encoders_at(report), run):
        say(line)
        cases.append(case)
    return with_measured(report, fingerprint, cases)


def _own_or_vary(option: str, text: str | None, keys: dict[str, str]) -> tuple[str, str | None]:
    """The value of an option, or of --vary with its key; which of them it is, and the value.

    Raises:
        UsageError: if both are given.
    """
    key = next(key for key, own in COUNTED.items() if own == option)
    if key not in keys:
        return option, text
    if text is not None:
        raise UsageError("given-twice", f"--vary {key}: {option} varies the same key; give only one of them")
    return f"--vary {key}", keys.pop(key)


def _each_once(vary: Sequence[str]) -> Iterator[str]:
    seen = set()
    for text in vary:
        key = text.partition("=")[0].strip()
        if key in seen:
            raise UsageError("given-twice", f"--vary {key}: is given twice; list all values in one --vary")
        seen.add(key)
        yield text


def _varied(text: str) -> tuple[str, str]:
    key, _, values = (part.strip() for part in text.partition("="))
    if not key or not values:
        raise UsageError(
            "not-a-setting", f"{option_where('--vary', text)}: must be KEY=A,B, such as 'mlp_ratio=2,4'"
        )
    return key, values


def _grid(
    resolutions: tuple[tuple[int, ...], ...],
    windows: tuple[int, ...],
    batch_sizes: tuple[int, ...],
    words: Sequence[tuple[str, str, str | None]],
    keys: dict[str, str],
) -> Grid:
    from ..studies.grid import Grid, Variation

    variations = [
        Variation(NAMES[option], tuple(axis(option, key, text)))
        for option, key, text in words
        if text is not None
    ]
    variations += [Variation(key, tuple(_values(key, values))) for key, values in keys.items()]
    for variation in variations:
        _check_once(variation)
    return Grid(
        variations=tuple(variations), batch_sizes=batch_sizes, windows=windows, resolutions=resolutions
    )


NO_ITEM = pattern(r"^\s*,|,\s*,")
"""A comma before which a list has no item."""


def _values(key: str, text: str) -> Iterator[Override]:
    """The values of ``--vary KEY=A,B``, each YAML or a range of whole numbers."""
    where = option_where("--vary", f"{key}={text}")
    if NO_ITEM.search(text):
        raise UsageError("empty-item", f"{where}: the list has an empty item")
    items = parse_yaml(f"[{versions_as_text(key, text)}]", where, located=False)
    for node in items.value if isinstance(items.value, list) else ():
        steps = span("--vary", node.value) if isinstance(node.value, str) else None
        if steps is not None and len(steps) > MOST_VALUES:
            raise UsageError(
                "too-many-values",
                f"{where}: has {len(steps):,} values, and at most {MOST_VALUES:,} are allowed; use larger steps",
            )
        for value in [node.value] if steps is None else steps:
            item = Node(value, node.where) if steps is not None else node
            yield override_of(key, item, f"--vary {key}={short(item.plain())}")


def _check_once(variation: Variation) -> None:
    labels = variation.labels
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise UsageError("given-twice", f"{variation.name}: {twice[0]} is given twice")


def _metrics(text: str, device: Device | None) -> list[str]:
    names = [figure_for_option("--metrics", name.strip(), OF_ENCODER) for name in text.split(",")]
    for name in names:
        if names.count(name) > 1:
            raise UsageError("given-twice", f"--metrics: {name} is given twice")
        if FIGURES[name].needs and device is None:
            raise UsageError(
                "needs-device",
                f"--metrics {name}: needs --device, such as --device h100 (see `samattn devices`)",
            )
    return names
