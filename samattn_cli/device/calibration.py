"""The answer of `samattn calibrate`: the factors of a device, and how good they are.

An error is (predicted - measured) / measured, for the latency of a whole pass that the factors were not fitted to.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..encoder.model import EncoderConfig
from ..reports.judgement import Errors
from ..reports.recording import Fingerprint
from .model import Calibration, Device

MOST_ERROR = 0.1
"""The largest error of the median case for factors that are reliable."""


@dataclass(frozen=True)
class JudgedLatency:
    """The latency of a pass: measured, predicted from the datasheet, and predicted with the factors."""

    config: EncoderConfig
    measured_ms: float
    datasheet_ms: float
    calibrated_ms: float

    @property
    def datasheet_error(self) -> float:
        """The error of the prediction from the datasheet."""
        return self.datasheet_ms / self.measured_ms - 1

    @property
    def calibrated_error(self) -> float:
        """The error of the prediction with the factors."""
        return self.calibrated_ms / self.measured_ms - 1


@dataclass(frozen=True)
class UnitCalibration:
    """The factors of runs on one unit, the number of cases they were fitted to, and the errors of the other cases."""

    unit: str
    factors: Calibration
    fitted: int
    judged: tuple[JudgedLatency, ...]
    datasheet: Errors
    calibrated: Errors


@dataclass(frozen=True)
class CalibrationReport:
    """The device with its factors, and the errors of all the cases that were judged.

    `left_out` has a sentence for each unit without factors, which says why.
    """

    device: Device
    measured_on: Fingerprint
    units: tuple[UnitCalibration, ...]
    datasheet: Errors
    calibrated: Errors
    left_out: tuple[str, ...]

    @property
    def loose(self) -> tuple[UnitCalibration, ...]:
        """The units whose median error is above `MOST_ERROR`."""
        return tuple(unit for unit in self.units if unit.calibrated.median > MOST_ERROR)
