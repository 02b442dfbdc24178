"""What was measured of an encoder: the recordings that ship with samattn, and those that are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..encoder.hash import config_hash
from ..encoder.model import EncoderConfig
from ..studies.recorded import FOLDER
from .lookup import MetricError, Reading

if TYPE_CHECKING:
    from ..device.model import Device
    from ..reports.recording import Fingerprint, MeasuredCase, Recording

INCOMPARABLE = "incomparable"


@dataclass(frozen=True)
class Recordings:
    """Recordings by file: those given, or if none are, those that ship with samattn. They are read when first asked."""

    files: tuple[Path, ...] = ()

    @cached_property
    def all(self) -> tuple[Recording, ...]:
        """Every one.

        Raises:
            RecordingError: if one is damaged.
        """
        from ..reports.recording import read_recording

        return tuple(map(read_recording, self.files or sorted(FOLDER.glob("*.json"))))

    def readings(self, config: EncoderConfig, device: Device | None, key: str) -> Iterator[Reading]:
        """What each recording has of a config, `peak_bytes` or `latency_ms`.

        Raises:
            MetricError: if none has it, or it was not measured on the device, or memory ran out.
        """
        found = [
            (recording.fingerprint, case) for recording in self.all if (case := recording.finished(config))
        ]
        if not found:
            raise MetricError(
                f"no recording is of it as it is run here (config_hash {config_hash(config)[:12]})"
            )
        fitting = [(made_by, case) for made_by, case in found if _is_on(made_by, device)]
        if not fitting:
            on = ", ".join(dict.fromkeys(made_by.device for made_by, _ in found))
            raise MetricError(
                f"{INCOMPARABLE}: recorded on {on}, not on the profile's {device and device.name}"
            )
        yield from (Reading(_figure(case, key), made_by=made_by) for made_by, case in fitting)


def _is_on(made_by: Fingerprint, device: Device | None) -> bool:
    """Whether a recording may be of a device: torch saw the memory that its file says torch sees."""
    return device is None or made_by.total_bytes == device.memory_bytes


def _figure(case: MeasuredCase, key: str) -> float:
    if case.measured is None:
        raise MetricError("it ran out of memory where it was recorded")
    if key == "latency_ms":
        if case.measured.latency is None:
            raise MetricError("no-times", "it is of a dry run, which has no times")
        return case.measured.latency.median_ms
    return case.measured.peak_allocated_bytes - case.measured.workspace_bytes


def alike(here: Sequence[Reading], there: Sequence[Reading] | None = None) -> tuple[Reading, ...]:
    """The readings of `here` that may be compared with a limit, or with those of `there`.

    Raises:
        MetricError: if they are by different hardware or software.
    """
    makers = [reading.made_by for reading in here]
    if there is None:
        _check_one(makers)
        return tuple(here)
    fitting = tuple(reading for reading in here if reading.made_by in [other.made_by for other in there])
    if not fitting:
        _check_one([*makers, *(reading.made_by for reading in there)])
    _check_one([reading.made_by for reading in fitting])
    return fitting


def _check_one(makers: Sequence[Fingerprint | None]) -> None:
    others = [maker for maker in makers if maker != makers[0]]
    if not others:
        return
    first, second = makers[0], others[0]
    if first is None or second is None:
        raise MetricError(f"{INCOMPARABLE}: it was measured, and what it is compared with was not")
    raise MetricError(f"{INCOMPARABLE}: {'; '.join(second.differences(first))}")
