"""Factors of a device and how good they are, frozen: the answer of `samattn calibrate`.

An error is (predicted - measured) / measured, of the latency of a whole pass that the factors were not fitted to.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..encoder.model import EncoderConfig
from ..reports.judgement import Errors
from ..reports.recording import Fingerprint
from .model import Calibration, Device

MOST_ERROR = 0.1
"""Of the median case, for factors that can be relied on."""


@dataclass(frozen=True)
class JudgedLatency:
    """The latency of a pass: measured, predicted by the datasheet, and predicted by the factors."""

    config: EncoderConfig
    measured_ms: float
    datasheet_ms: float
    calibrated_ms: float

    @property
    def datasheet_error(self) -> float:
        """By the datasheet."""
        return self.datasheet_ms / self.measured_ms - 1

    @property
    def calibrated_error(self) -> float:
        """By the factors."""
        return self.calibrated_ms / self.measured_ms - 1


@dataclass(frozen=True)
class UnitCalibration:
    """The factors of runs on one unit: how many cases they were fitted to, and the other cases, with their errors."""

    unit: str
    factors: Calibration
    fitted: int
    judged: tuple[JudgedLatency, ...]
    datasheet: Errors
    calibrated: Errors


@dataclass(frozen=True)
class CalibrationReport:
    """The device with its factors, and the errors of all the cases that were judged.

    `left_out` says of what no factors could be found, and why.
    """

    device: Device
    measured_on: Fingerprint
    units: tuple[UnitCalibration, ...]
    datasheet: Errors
    calibrated: Errors
    left_out: tuple[str, ...]

    @property
    def loose(self) -> tuple[UnitCalibration, ...]:
        """Those whose median error is above `MOST_ERROR`."""
        return tuple(unit for unit in self.units if unit.calibrated.median > MOST_ERROR)
