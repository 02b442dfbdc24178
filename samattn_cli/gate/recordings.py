"""Measured figures of an encoder, from the recordings that ship with samattn or that the user names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..encoder.hash import config_hash
from ..encoder.model import EncoderConfig
from ..records import dataclass
from ..studies.recorded import FOLDER
from .lookup import MetricError, Reading

if TYPE_CHECKING:
    from ..device.model import Device
    from ..reports.recording import Fingerprint, MeasuredCase, Recording

INCOMPARABLE = "recordings-differ"
"""The code of figures that different hardware or software measured."""


@dataclass(frozen=True)
class Recordings:
    """Recordings by their files; by default those that ship with samattn. They are read when they are first needed."""

    files: tuple[Path, ...] = ()

    @cached_property
    def all(self) -> tuple[Recording, ...]:
        """All recordings.

        Raises:
            RecordingError: if one is damaged.
        """
        from ..reports.recording import read_recording

        return tuple(map(read_recording, self.files or sorted(FOLDER.glob("*.json"))))

    def readings(self, config: EncoderConfig, device: Device | None, key: str) -> Iterator[Reading]:
        """The measured `peak_bytes` or `latency_ms` of a config in each recording of eager passes.

        Raises:
            MetricError: if no recording has it, if it was measured on another device, or if memory ran out.
        """
        measured = [
            (recording.fingerprint, case)
            for recording in self.all
            if not recording.fingerprint.compiled and (case := recording.finished(config))
        ]
        if not measured:
            text = f"no recording matches this config and its run settings (config_hash {config_hash(config)[:12]})"
            raise MetricError("not-recorded", text)
        fitting = [(made_by, case) for made_by, case in measured if _is_on(made_by, device)]
        if not fitting:
            on = ", ".join(dict.fromkeys(made_by.device for made_by, _ in measured))
            text = f"recorded on {on}, not on the profile's {device and device.name}"
            raise MetricError(INCOMPARABLE, text)
        yield from (Reading(_figure(case, key), made_by=made_by) for made_by, case in fitting)


def _is_on(made_by: Fingerprint, device: Device | None) -> bool:
    """Whether a recording may be from a device: torch saw as much memory as the device file states."""
    return device is None or made_by.total_bytes == device.memory_bytes


def _figure(case: MeasuredCase, key: str) -> float:
    if case.measured is None:
        raise MetricError("out-of-memory", "it ran out of memory when it was recorded")
    if key == "latency_ms":
        if case.measured.latency is None:
            raise MetricError("no-times", "it was recorded in a dry run, which has no times")
        return case.measured.latency.median_ms
    return case.measured.peak_allocated_bytes - case.measured.workspace_bytes


def alike(here: Sequence[Reading], there: Sequence[Reading] | None = None) -> tuple[Reading, ...]:
    """The readings of `here` that can be compared with a limit, or with those of `there`.

    Raises:
        MetricError: if different hardware or software measured them.
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
        raise MetricError(INCOMPARABLE, "one of the two figures was measured, and the other was not")
    raise MetricError(INCOMPARABLE, f"measured differently: {'; '.join(second.differences(first))}")
