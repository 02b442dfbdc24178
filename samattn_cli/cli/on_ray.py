"""The options --ray and --gpu-type: measure on the machines of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..units import format_things
from .output import working

if TYPE_CHECKING:  # not when another command starts
    from ..encoder.model import EncoderConfig
    from ..reports.recording import CompileMode, MeasuredCase
    from ..studies.cluster.cases import Cluster

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Measure on the machines of a Ray cluster: HOST:PORT of its head, or nothing for the cluster that this machine "
        "is in. Each case has one GPU or, with cpu, one core.",
    ),
]
GpuType = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE",
        help="The GPUs of the cluster to measure on, as Ray names them: A100, H100, L4, ...; needed if it has several types.",
    ),
]


def check_ray(option: str, device: str, ray: str | None, gpu_type: str | None) -> None:
    """Check that what is measured can be measured on a cluster; `option` names the device.

    Raises:
        UsageError: if it cannot.
    """
    if ray is None:
        if gpu_type is not None:
            raise UsageError("missing-option", f"--gpu-type {gpu_type}: needs --ray")
        return
    if device.startswith("dry"):
        raise UsageError(
            "not-with-ray",
            f"--ray: {option} {device} needs no GPU, so it runs on this machine: leave out --ray",
        )
    if ":" in device:
        raise UsageError("not-with-ray", f"{option} {device}: with --ray, Ray chooses the GPU: {option} cuda")
    if gpu_type is not None and device == "cpu":
        raise UsageError("cuda-only", f"--gpu-type {gpu_type}: {option} cpu does not use a GPU")


@contextmanager
def cluster_at(
    address: str,
    device: str,
    gpu_type: str | None,
    repeats: int | None,
    compiled: CompileMode = "",
) -> Iterator[Cluster]:
    """The Ray cluster at an address, whose machines can all run the cases."""
    from ..studies.cluster.cases import Task, cluster

    task = Task(device, compiled, repeats=repeats)
    with ExitStack() as stack:
        with working("looking at the cluster", "machines") as tell:
            found = stack.enter_context(cluster(address, task, gpu_type, tell))
        yield found


def on(cluster: Cluster) -> str:
    """The device and the machines of a cluster, for a message."""
    machines = format_things(len(cluster.fingerprints), "machine")
    return f"{cluster.fingerprint}, on {machines} of the Ray cluster: {cluster.fingerprint.host}"


@contextmanager
def measured_together(
    cluster: Cluster, configs: Sequence[EncoderConfig]
) -> Iterator[Iterator[tuple[str, int, MeasuredCase]]]:
    """Measure cases on a cluster, in the order in which they finish; those that are left at the end are cancelled.

    Each has a line with the result and the time that is left, its position among `configs`, and the case.
    """
    with closing(cluster.measured(configs)) as cases:
        yield _lines(cases, len(configs))


def _lines(cases: Iterator[tuple[int, MeasuredCase]], of: int) -> Iterator[tuple[str, int, MeasuredCase]]:
    from ..render.measured import case_name, result

    began, done = monotonic(), 0
    while done < of:
        with working(f"measuring on the cluster: {done} of {format_things(of, 'case')}"):
            position, case = next(cases)
        done += 1
        left = (monotonic() - began) / done * (of - done)
        where = f" on {case.fingerprint.host}" if case.fingerprint else ""
        remaining = f"; about {left:,.0f} s left" if left else ""
        name = f"[{done}/{of}] {case_name(case.config)}"
        yield f"{name}: {result(case)}{where}{remaining}", position, case
