"""Calibration of a device by recordings: half of the cases fit its factors, the other half test them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from statistics import median

from ..device.calibration import CalibrationReport, JudgedLatency, UnitCalibration
from ..device.fitting import Case, calibrate, with_calibration
from ..device.model import Calibrations, Device
from ..device.roofline import layer_time, unit_of
from ..errors import RecordingError, UsageError
from ..records import replace
from ..reports.judgement import Errors
from ..reports.recording import Fingerprint, Latency, MeasuredCase, Measurement, Recording
from ..units import format_ms, format_things
from .passes import Passes

LEAST_CASES = 4
"""Cases per unit: two to fit the factors to, two to test them."""

MOST_OF_PEAK = 1.1
"""The largest share of the datasheet's peak that a pass may reach: clocks vary, but beyond that it is another device."""

UNITS = tuple(field.name for field in fields(Calibrations))


@dataclass(frozen=True)
class _Run:
    """A measured case, and when it was measured."""

    passes: Passes
    measured: Measurement
    latency: Latency
    measured_at: str

    @property
    def rank(self) -> tuple[str, str, float]:
        """The order of cases. Every second case is similar to the one before it: the same mode and kernel, a similar time."""
        run = self.passes.config.run
        return run.mode, run.attention, self.latency.median_ms

    def cases(self) -> Iterator[Case]:
        """The whole pass and each of its sections, as cases to fit to."""
        sections = self.passes.sections
        yield Case(tuple(chain.from_iterable(sections.values())), self.latency.median_ms)
        for layer in self.measured.layers:
            if layer.latency and (ops := sections.get((layer.name, layer.phase))):
                yield Case(ops, layer.latency.median_ms)


def calibrate_device(device: Device, recordings: Mapping[Path, Recording]) -> CalibrationReport:
    """Fit the factors of a device to every second measured case of some recordings, and test them on the others.

    Args:
        device: the device; its earlier calibration is kept for units without cases.
        recordings: by the files that they were read from. If several have the same case, the last one counts.

    Raises:
        RecordingError: if they are of different devices or versions of torch, or of a device faster than this one.
        UsageError: if every unit of the device has too few cases.
    """
    measured_on = _one_device(recordings)
    datasheet = replace(device, calibrated=Calibrations())
    groups = _by_unit(datasheet, recordings.values())
    results = [_tried(unit, datasheet, groups[unit], measured_on) for unit in sorted(groups, key=UNITS.index)]
    units = [result for result in results if isinstance(result, UnitCalibration)]
    left_out = [result for result in results if isinstance(result, str)]
    if not units:
        reasons = left_out or ["no case was measured"]
        raise UsageError(
            "too-few-cases",
            f"{_files(recordings)}: not enough cases to calibrate {device.name}: {'; '.join(reasons)}",
        )
    for unit in units:
        device = with_calibration(device, unit.unit, unit.factors)
    judged = [case for unit in units for case in unit.judged]
    return CalibrationReport(device, measured_on, tuple(units), *_both_errors(judged), tuple(left_out))


def _one_device(recordings: Mapping[Path, Recording]) -> Fingerprint:
    """The fingerprint of the device that all were measured on."""
    (first, *_), prints = recordings, {path: recording.fingerprint for path, recording in recordings.items()}
    for path, other in prints.items():
        if other.kind == "dry":
            raise RecordingError(
                "no-times", f"{path}: is from a dry run, which has no times to calibrate with"
            )
        if other.compiled:
            raise RecordingError(
                "compiled-recording",
                f"{path}: its passes ran through torch.compile, but a device is calibrated with eager passes",
            )
        for name in ("device", "kind", "torch"):
            here, there = getattr(prints[first], name), getattr(other, name)
            if here != there:
                raise RecordingError(
                    "recordings-differ",
                    f"all recordings must be of one device and one version of torch, but {name} is {here!r} in {first} "
                    f"and {there!r} in {path}",
                )
    return prints[first]


def _by_unit(device: Device, recordings: Iterable[Recording]) -> dict[str, list[_Run]]:
    """The measured cases, by the unit that their linear layers run on."""
    cases = {case.config_hash: case for recording in recordings for case in recording.cases if case.measured}
    groups: dict[str, list[_Run]] = defaultdict(list)
    for case in cases.values():
        groups[unit_of("linear", device, case.config.run)] += _run(case, device)
    return groups


def _run(case: MeasuredCase, device: Device) -> Iterator[_Run]:
    if case.measured and case.measured.latency:
        yield _Run(Passes(case.config, device), case.measured, case.measured.latency, case.measured_at)


def _tried(
    unit: str, device: Device, runs: Sequence[_Run], measured_on: Fingerprint
) -> UnitCalibration | str:
    """The factors of a unit, or the reason why there are none."""
    try:
        return _calibrated(unit, device, runs, measured_on)
    except UsageError as error:
        return f"{unit}: {error.message}"


def _calibrated(unit: str, device: Device, runs: Sequence[_Run], measured_on: Fingerprint) -> UnitCalibration:
    if len(runs) < LEAST_CASES:
        raise UsageError(
            "too-few-cases", f"{format_things(len(runs), 'case')}, but at least {LEAST_CASES} are needed"
        )
    for run in runs:
        _check_peak(run, device)
    ordered = sorted(runs, key=lambda run: run.rank)
    fitted, others = ordered[::2], ordered[1::2]
    cases = [case for run in fitted for case in run.cases()]
    factors = calibrate(cases, device, fitted[0].passes.config.run, _recorded_on(measured_on, fitted))
    calibrated = with_calibration(device, unit, factors)
    judged = tuple(_judged(run, device, calibrated) for run in others)
    return UnitCalibration(unit, factors, len(fitted), judged, *_both_errors(judged))


def _check_peak(run: _Run, device: Device) -> None:
    """Check that a pass was not faster than its matrix products at the peaks of the device.

    Raises:
        RecordingError: if it was.
    """
    time, config, measured_ms = run.passes.latency, run.passes.config, run.latency.median_ms
    at_peak_ms = time.share_of_peak * time.ms if time else 0.0
    if at_peak_ms > MOST_OF_PEAK * measured_ms:
        raise RecordingError(
            "device-mismatch",
            f"a pass of {config.name} took {format_ms(measured_ms)}, but its matrix products alone need "
            f"{format_ms(at_peak_ms)} at the peak of {device.name}: the recording is from a faster device",
        )


def _judged(run: _Run, datasheet: Device, calibrated: Device) -> JudgedLatency:
    whole, config = next(run.cases()), run.passes.config
    times_ms = (layer_time(whole.ops, device, config.run).ms for device in (datasheet, calibrated))
    return JudgedLatency(config, whole.measured_ms, *times_ms)


def _both_errors(judged: Iterable[JudgedLatency]) -> tuple[Errors, Errors]:
    """The errors of the datasheet, and those of the factors."""
    pairs = [(abs(case.datasheet_error), abs(case.calibrated_error)) for case in judged]
    datasheet, calibrated = (Errors(max(sizes), median(sizes)) for sizes in zip(*pairs, strict=True))
    return datasheet, calibrated


def _recorded_on(measured_on: Fingerprint, runs: Iterable[_Run]) -> str:
    """Device, driver, torch and the day of the last measurement, as text for a device file."""
    driver = [f"driver {measured_on.driver}"] if measured_on.driver else []
    day = max(run.measured_at for run in runs).partition("T")[0]
    text = ", ".join([measured_on.device, *driver, f"torch {measured_on.torch}", day])
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _files(recordings: Iterable[Path]) -> str:
    return ", ".join(map(str, recordings))
