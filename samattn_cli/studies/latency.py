"""How long a forward pass takes on a device, and whether it fits into its memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..config.device import Device
from ..cost.encoder import ForwardPass
from ..cost.roofline import LayerTime, layer_time
from ..cost.tape import Recording


@dataclass(frozen=True)
class Latency:
    """The time of each segment of a forward pass by its name, in order."""

    segments: dict[str, LayerTime]

    @cached_property
    def ms(self) -> float:
        """The time of the forward pass."""
        return sum(time.ms for time in self.segments.values())

    @cached_property
    def calibrated(self) -> bool:
        """Whether every operation's time came from figures measured on the device, not from its datasheet."""
        return all(time.calibrated for time in self.segments.values())


@dataclass(frozen=True)
class Fit:
    """Whether a peak of memory fits into a device, and the bytes to spare: below 0, those that are missing."""

    spare_bytes: int

    @property
    def fits(self) -> bool:
        """Whether it fits."""
        return self.spare_bytes >= 0


def latency(forward_pass: ForwardPass, device: Device) -> Latency:
    """The time of a forward pass on a device, in the types of its run.

    Raises:
        UsageError: if the device has no units for the type of the run.
    """
    run = forward_pass.config.run
    timed: dict[
        Recording, LayerTime
    ] = {}  # blocks of one kind share a recording, which is equal only to itself
    for segment in forward_pass.segments:
        if segment.recording not in timed:
            timed[segment.recording] = layer_time(segment.recording.ops, device, run)
    return Latency({segment.name: timed[segment.recording] for segment in forward_pass.segments})


def fits(peak_bytes: int, device: Device) -> Fit:
    """Whether `peak_bytes` fit into what a process has of the device's memory."""
    return Fit(device.usable_bytes - peak_bytes)
