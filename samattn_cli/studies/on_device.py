"""A run in the memory of a CUDA device: what the caching allocator hands out and reserves, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..tape.allocator import OutOfMemoryError
from ..tape.inside import Cuda
from ..tape.replay import Usage, replay_forward, replay_step

if TYPE_CHECKING:
    from ..device.model import Device
    from ..reports.recording import Fingerprint
    from .passes import Passes


@dataclass(frozen=True)
class InMemory:
    """A run in a memory.

    Attributes:
        fits: whether it runs.
        peak_allocated_bytes: the most that the allocator allocates, with internal allocations of operators; if the run does
            not fit, as if memory were unlimited. None for a device that is not a CUDA device.
        peak_reserved_bytes: the most that the allocator reserves on the device.
        stopped_at: the part and phase in which memory runs out; "" if it fits.
    """

    fits: bool
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    stopped_at: str = ""

    @property
    def too_large(self) -> tuple[str, ...]:
        """The part in which memory runs out, if it does."""
        return () if self.fits else (self.stopped_at.partition(" ")[0],)


def cuda_of(device: Device) -> Cuda | None:
    """The properties of a device that decide the internal allocations of operators; None if it is not a CUDA device."""
    capability, multiprocessors, threads = (
        device.compute_capability,
        device.multiprocessors,
        device.threads_per_multiprocessor,
    )
    if capability is None or multiprocessors is None or threads is None:
        return None
    return Cuda(capability, multiprocessors, threads)


def in_memory(passes: Passes, device: Device) -> InMemory:
    """A run of the mode of `passes` in what a process has of a device's memory."""
    cuda = cuda_of(device)
    if cuda is None:
        return InMemory(passes.peak_bytes <= device.usable_bytes)
    try:
        used = replayed(passes, cuda, device.usable_bytes)
    except OutOfMemoryError as error:
        used = replayed(passes, cuda)
        return InMemory(False, used.allocated, used.reserved, error.at)
    return InMemory(True, used.allocated, used.reserved)


def fits(passes: Passes, device: Device) -> bool:
    """Whether a run of the mode of `passes` fits a device."""
    if passes.peak_bytes > device.usable_bytes:
        return False
    cuda = cuda_of(device)
    if cuda is None:
        return True
    try:
        replayed(passes, cuda, device.usable_bytes)
    except OutOfMemoryError:
        return False
    return True


def cuda_of_recording(made_by: Fingerprint) -> Cuda | None:
    """The same of the device of a recording; None for a CPU, and where the recording does not have it."""
    if made_by.kind == "cpu" or made_by.multiprocessors is None or made_by.threads_per_multiprocessor is None:
        return None
    capability = float(made_by.compute_capability)
    return Cuda(capability, made_by.multiprocessors, made_by.threads_per_multiprocessor)


def replayed(passes: Passes, cuda: Cuda, capacity: int | None = None) -> Usage:
    """A run of the mode of `passes` through the allocator.

    Raises:
        OutOfMemoryError: if it does not fit the capacity.
    """
    if passes.trains:
        return replay_step(passes.step, cuda, capacity)
    return replay_forward(passes.forward, cuda, capacity)
