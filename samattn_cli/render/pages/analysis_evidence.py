"""What an analysis says of devices and of other people's figures: whether it fits, times, measured and published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...figures import FIGURES
from ...reports.analysis import DeviceReport, Measured, MemoryReport, PublishedFigure, TrainingReport
from ...units import format_bytes, format_change, format_ms, format_percent

PREFIXES = ("", "M", "G")
"""Units that do not name what is counted."""


def on_device(
    device: DeviceReport, training: TrainingReport, *, full: bool, short: bool = False
) -> Iterator[str]:
    """What the run takes of the device, what is too large for it, and the time; with `full`, whether it fits.

    `short`: the times of the phases alone, where the answer in short has that of the whole.
    """
    if device.refused and full:
        yield f"does not run, whatever the memory: {device.refused}"
    elif full:
        usable = f"of the {format_bytes(device.usable_bytes)} that a process can use"
        yield f"fits in its {device.memory_size}: {_verdict(device)} ({usable})"
    if device.allocated_bytes is not None and device.reserved_bytes is not None:
        allocated, reserved = (
            format_bytes(device.allocated_bytes),
            format_bytes(device.reserved_bytes),
        )
        smi = f"nvidia-smi would show about {format_bytes(device.nvidia_smi_bytes or 0)}"
        if not full:
            yield f"torch reserves {reserved} at most; {smi}"
    if full and device.allocated_bytes is not None:
        yield f"torch allocates {allocated} and reserves {reserved}, workspaces of cuBLAS and of other kernels included"
        yield (
            f"{smi} (an estimate): what is reserved, and "
            f"{format_bytes(device.context_bytes)} of the CUDA context and libraries"
        )
    if device.too_large and full:
        yield f"too large for it: {', '.join(_ranges(device.too_large))}"
    if short:
        yield f"{', '.join(_phases(training))}; {_basis(device) if device.calibrated_share else 'by its datasheet'}"
    else:
        yield f"{_time_of(training)}: {format_ms(device.latency_ms)}, {_basis(device)}"


def _verdict(device: DeviceReport) -> str:
    if device.fits:
        return f"yes, with {format_bytes(device.spare_bytes)} to spare"
    return f"no, {missing_of(device)}"


def missing_of(room: DeviceReport | MemoryReport) -> str:
    """How much memory is missing: of what the allocator reserves, where that is known, or else of what is live."""
    reserved = None if isinstance(room, MemoryReport) else room.reserved_bytes
    return f"it lacks {format_bytes(-room.spare_bytes if reserved is None else reserved - room.usable_bytes)}"


SEEN_SLOWER = "an H200 took 1.6 to 2.3 times it"
"""In float32 and in bfloat16: the medians over the recording that ships (`tests/gpu/test_h200.py`)."""


def _time_of(training: TrainingReport) -> str:
    """What the time is of."""
    phases = _phases(training)
    return f"time of a whole step ({', '.join(phases)})" if phases else "time of a pass"


def _phases(training: TrainingReport) -> tuple[str, ...]:
    """The times of the phases of a step; () in inference."""
    times = {
        "forward": training.forward_ms,
        "backward": training.backward_ms,
        "optimizer": training.optimizer_ms,
    }
    return (
        () if None in times.values() else tuple(f"{name} {format_ms(ms or 0)}" for name, ms in times.items())
    )


def at_best(device: DeviceReport) -> str:
    """What is said of a time that no measured figure is in."""
    return "" if device.calibrated_share else " at best"


def _basis(device: DeviceReport) -> str:
    """What the time is based on."""
    if not device.calibrated_share:
        return f"by its datasheet; {SEEN_SLOWER}"
    part = "" if device.calibrated_share == 1.0 else f"{format_percent(device.calibrated_share)} of it "
    rest = ", the rest from its datasheet" if part else ""
    return f"{part}calibrated by measurement on {device.recorded_on}{rest}"


def _ranges(names: Sequence[str]) -> Iterator[str]:
    """Consecutive blocks as one name: "blocks.7 to blocks.31"."""
    run: list[str] = []
    for name in (*names, ""):
        if run and not _follows(run[-1], name):
            yield run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}"
            run = []
        run.append(name)


def _follows(one: str, other: str) -> bool:
    (container, _, index), (also, _, following) = one.rpartition("."), other.rpartition(".")
    return container == also and index.isdecimal() and following == str(int(index) + 1)


def measured_line(measured: Measured, *, full: bool) -> str:
    """A measurement next to what was predicted; in full with the range of the times."""
    on = f"on {measured.device}, torch {measured.torch if full else measured.torch.partition('+')[0]}"
    if measured.peak_bytes is None:
        return f"{on}: {measured.status}"
    note = "" if measured.kind == "cuda" else "; its kernels are not CUDA's"
    times = [format_ms(time or 0.0) for time in (measured.latency_ms, measured.low_ms, measured.high_ms)]
    return (
        f"{on}: peak {format_bytes(measured.peak_bytes)} (predicted {format_change(-(measured.error or 0.0))}), "
        f"{times[0]}{f' a pass ({times[1]} to {times[2]})' * full}{note}"
    )


def published_line(published: PublishedFigure) -> str:
    """A published figure, and whether a count of samattn equals it."""
    unit = (
        f"{published.unit} {FIGURES[published.quantity].word}"
        if published.unit in PREFIXES
        else published.unit
    )
    printed = f"{published.figure} {unit.strip()} ({published.source})"
    ours = " ".join(filter(None, ("ours", published.words)))
    return f"{printed}: {ours if published.equals else f'differs: {published.words}'}"
