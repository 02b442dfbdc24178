"""`samattn measure`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..encoder.presets import devices
from ..errors import EXIT_ERROR, EXIT_INTERRUPTED, ConfigError, UsageError, did_you_mean
from ..records import replace
from ..shell import command
from ..spelling import known_as
from ..units import format_things
from . import complete
from .files import folder_lock
from .on_ray import GpuType, Ray, check_ray, cluster_at, measured_together, on
from .output import emit, guarded, say, terminal_options, working, write_file
from .output_files import file_format
from .parameters import Configs, Strict, axis, overrides, read_stdin_once, run_option
from .run_options import Set

DEVICES = ("cuda", "cpu")
OTHER_DEVICES = {"gpu": "cuda"}
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
DEVICE = re.compile(r"cpu|cuda(:\d+)?|dry(:.+)?")


def measurable_devices() -> list[str]:
    """What --device takes."""
    return [*DEVICES, "dry", *(f"dry:{name}" for name in devices())]


if TYPE_CHECKING:  # not when another command starts
    from ..encoder.model import EncoderConfig
    from ..reports.recording import CompileMode, Fingerprint, MeasuredCase, Recording

    Run = Callable[[EncoderConfig], MeasuredCase]


@guarded
def measure(
    configs: Configs,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="cuda, cuda:1, cpu, or dry:NAME: a dry run of a device of `samattn devices` or of a device file, "
            "without a GPU; dry alone is an A100.",
            autocompletion=complete.words(measurable_devices),
        ),
    ] = "cuda",
    set_: Set = None,
    resolutions: Annotated[
        str | None, typer.Option(metavar="SIZES", help="Image sizes in pixels, such as 512,1024,768x1152.")
    ] = None,
    attention: Annotated[
        str | None,
        run_option("attention", "KERNELS", "Attention kernels, such as eager,sdpa,fused.", several=True),
    ] = None,
    dtype: Annotated[
        str | None, run_option("dtype", "TYPES", "Types, such as float32,bfloat16.", several=True)
    ] = None,
    batch_size: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="Batch sizes, such as 1,4.")
    ] = None,
    mode: Annotated[
        str | None,
        run_option("mode", "MODES", "inference, training or both: inference,training.", several=True),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Timed passes. Default: at least 10 and at least one second; fewer if they are slow.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Keep the recording in FILE.json, and continue one that is there.",
        ),
    ] = None,
    compile_: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Run the encoder through torch.compile, in its default mode; CUDA and dry runs only.",
        ),
    ] = False,
    compile_mode: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="Run it through torch.compile in this mode: default, reduce-overhead (CUDA graphs), max-autotune, "
            "max-autotune-no-cudagraphs.",
            autocompletion=complete.words(lambda: list(COMPILE_MODES)),
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start a new recording, even if the file of -o exists.")
    ] = False,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Keep torch's memory snapshot of one case, for its viewer; CUDA only."
        ),
    ] = None,
    ray: Ray = None,
    gpu_type: GpuType = None,
    strict: Strict = False,
) -> None:
    """Run the real PyTorch stack, and record its memory and latency, in total and by layer.

    Each combination of the options is a case, which runs in its own process. With -o each finished case is kept, and
    the same command continues after an interruption. Running out of memory is a valid result. A size that an encoder does
    not take is left out, which is said on stderr; with --strict it is an error. Exits with 2 if a case failed.

    Examples:

      samattn measure sam_vit_b --device cpu --resolutions 256,512

      samattn measure sam_vit_h --attention eager,sdpa,fused --mode inference,training -o h100.json

      samattn measure sam_vit_b --device dry:a100_80 --compile --dtype bfloat16

      samattn measure sam_vit_b sam_vit_l --ray --gpu-type A100 -o a100.json
    """
    _check(device, output, snapshot)
    check_ray("--device", device, ray, gpu_type)
    if ray is not None and snapshot:
        raise UsageError(
            "not-with-ray", f"--snapshot {snapshot}: is kept on the machine that measures; leave out --ray"
        )
    compiled = _compile_mode(device, compile_mode, wanted=compile_)
    axes = [
        axis("--resolutions", "image_size", resolutions),
        axis("--attention", "run.attention", attention),
        axis("--dtype", "run.dtype", dtype),
        axis("--batch-size", "run.batch_size", batch_size),
        axis("--mode", "run.mode", mode),
    ]
    from ..render.measured import compile_notes
    from ..studies.measure import cases_of, device_fingerprint, measure_case, start

    read_stdin_once(configs)
    left_out: list[ConfigError] = []
    cases = cases_of(configs, overrides(set_), axes, None if strict else left_out)
    for problem in dict.fromkeys(str(error.problems[0]) for error in left_out):
        say(f"samattn: left out: {problem}", style="yellow")
    if snapshot and len(cases) != 1:
        raise UsageError(
            "one-case-only", f"--snapshot {snapshot}: needs exactly one case, but there are {len(cases)}"
        )
    with ExitStack() as stack:
        cluster = stack.enter_context(cluster_at(ray, device, gpu_type, repeats, compiled)) if ray else None
        fingerprint = cluster.fingerprint if cluster else device_fingerprint(device, compiled)
        recording = start(fingerprint, None if fresh else output)
        left = [config for config in cases if snapshot or not recording.finished(config)]
        kept = len(cases) - len(left)
        done = f"; {kept} already finished, in {output}" if kept else ""
        say(f"{format_things(len(cases), 'case')} on {on(cluster) if cluster else fingerprint}{done}")
        for note in compile_notes(compiled):
            say(note)
        if cluster:
            measured = stack.enter_context(measured_together(cluster, left))
        else:
            run = partial(
                measure_case,
                device=device,
                snapshot=snapshot,
                repeats=repeats,
                compiled=compiled,
                made_by=fingerprint,
            )
            measured = measured_in_turn(left, run)
        finished = _run(recording, fingerprint, measured, len(left), output, kept, fresh=fresh)
    for path in (output, snapshot):
        if path and finished:
            say(f"wrote {path}")
    if any(not case.is_finished for case in finished):
        raise typer.Exit(EXIT_ERROR)


def _run(
    recording: Recording,
    own: Fingerprint,
    measured: Iterator[tuple[str, int, MeasuredCase]],
    left: int,
    output: Path | None,
    kept: int,
    *,
    fresh: bool,
) -> list[MeasuredCase]:
    """Measure the cases that are left; each is written to the file before its line is printed."""
    finished: list[MeasuredCase] = []
    unwritten = False
    try:
        for line, _, measured_case in measured:
            case = measured_case
            if own != recording.fingerprint and case.fingerprint is None and case.is_finished:
                case = replace(case, fingerprint=own)
            finished.append(case)
            unwritten, recording = True, recording.with_case(case)
            if output:
                recording = _keep(recording, finished, output, anew=fresh and len(finished) == 1)
                unwritten = False
            say(line)
    except KeyboardInterrupt:
        _say_kept(kept + len(finished), kept + left, output)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        if unwritten:  # without -o, or if the file could not be written
            _show(recording)
    return finished


def _keep(
    recording: Recording, finished: Sequence[MeasuredCase], output: Path, *, anew: bool = False
) -> Recording:
    """Write the recording, and keep cases that another `samattn measure` has added to the file in the meantime.

    Args:
        recording: the recording from the start of this command, with the cases measured since.
        finished: the cases measured since.
        output: the file.
        anew: drop the cases in the file.

    Raises:
        RecordingError: if the file now holds a recording of another device, or something else.
        OutputError: if it cannot be written.
    """
    from ..reports.text import to_json
    from ..studies.measure import start

    with folder_lock(output):
        if output.exists() and not anew:
            recording = start(recording.fingerprint, output)
            for case in finished:
                recording = recording if case in recording.cases else recording.with_case(case)
        write_file(output, to_json(recording), quiet=True)
    return recording


def _check(device: str, output: Path | None, snapshot: Path | None) -> None:
    if device == "dry:":
        raise UsageError(
            "unknown-device",
            "--device dry: needs a name after the colon, such as dry:h100; dry alone is an A100",
        )
    if not DEVICE.fullmatch(device):
        known = known_as(device, devices())
        predicted = (
            f"; to predict times on {known}, use {command('analyze', 'sam_vit_b', '--device', known)}"
            if known
            else ""
        )
        hint = predicted or did_you_mean(OTHER_DEVICES.get(device, device), DEVICES)
        raise UsageError("unknown-device", f"--device {device}: must be cuda, cuda:1, cpu or dry:NAME{hint}")
    if output:
        file_format(output, ("json",))
    if snapshot and device == "cpu":
        raise UsageError("cuda-only", "--snapshot: torch takes snapshots of CUDA memory only")
    if snapshot and not snapshot.resolve().parent.is_dir():
        raise UsageError("no-such-directory", f"--snapshot {snapshot}: no such directory: {snapshot.parent}")


def _compile_mode(device: str, mode: str | None, *, wanted: bool) -> CompileMode:
    """The mode of torch.compile; "" without --compile."""
    if not wanted and mode is None:
        return ""
    if device == "cpu":
        raise UsageError("cuda-only", "--compile: memory of compiled encoders is measured on CUDA only")
    known = known_as(mode or COMPILE_MODES[0], COMPILE_MODES)
    if known is None:
        names = ", ".join(COMPILE_MODES)
        hint = did_you_mean(str(mode), COMPILE_MODES)
        raise UsageError("unknown-mode", f"--compile-mode {mode}: must be one of {names}{hint}")
    return cast("CompileMode", known)


def measured_in_turn(configs: Sequence[EncoderConfig], run: Run) -> Iterator[tuple[str, int, MeasuredCase]]:
    """Measure cases one after another; yield a line with the result and the time that is left, the position, and the case."""
    from ..render.measured import case_name, result

    began = monotonic()
    for number, config in enumerate(configs, 1):
        name = f"[{number}/{len(configs)}] {case_name(config)}"
        with working(name):
            case = run(config)
        left = (monotonic() - began) / number * (len(configs) - number)
        yield f"{name}: {result(case)}{f'; about {left:,.0f} s left' if left else ''}", number - 1, case


def _say_kept(done: int, cases: int, output: Path | None) -> None:
    where = f" and kept in {output}; run the same command to continue" if output and done else ""
    say(f"samattn: interrupted; {done} of {format_things(cases, 'case')} finished{where}", style="yellow")


def _show(recording: Recording) -> None:
    from ..render.measured import render_recording

    emit(render_recording(recording, terminal_options()), "terminal")
