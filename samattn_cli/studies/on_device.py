"""A run in the memory of a CUDA device: what the caching allocator allocates and reserves, and whether it fits."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..encoder.allocator_settings import settings_of
from ..records import dataclass
from ..tape.sdpa_rules import MOST_BLOCKS
from ..units import rounded

if TYPE_CHECKING:  # at run time only where there is a device, because they take long to import
    from ..device.model import Device
    from ..encoder.model import EncoderConfig
    from ..reports.recording import Fingerprint
    from ..tape.inside import Cuda
    from ..tape.plays import Played, Script
    from ..tape.replay import Usage
    from ..tape.requests import Kinds
    from .passes import Passes

FITS_IF_TIMES = 3
FITS_IF_ALSO = 256 * 2**20
"""A run whose live bytes, taken so many times and with these added, fit a device is not replayed to find that it does.

This is seen, not proven: no such limit follows from the allocator's rules. Requests that keep every other block and double in
size reserve 4.6 times what is ever live (a test has them). The most that was seen of an encoder, over every third preset in all
modes, kernels and devices, and over 1,121 random ones, is 1.8 times the live bytes and 128 MiB (SAM 2 in inference, three
images). That a run does not fit
whose live bytes alone exceed the memory is proven: each of them is allocated.
"""


@dataclass(frozen=True)
class InMemory:
    """A run in a memory.

    Attributes:
        fits: whether it runs.
        replay: gives `usage`; None for a device that is not a CUDA device.
        stopped_at: the part and phase in which memory runs out, or the operation that cannot be launched; "" if it fits.
        refused: why an operation cannot be launched; "" if all can.
        capacity: the memory in which `usage` was replayed; None: unlimited.
        play: gives the peaks of `usage` alone, in less time; None: they are those of `usage`.
    """

    fits: bool
    replay: Callable[[], Usage] | None = None
    stopped_at: str = ""
    refused: str = ""
    capacity: int | None = None
    play: Callable[[], Played] | None = None

    @cached_property
    def peaks(self) -> Played | Usage | None:
        """The most that the allocator allocates and reserves; None for a device that is not a CUDA device."""
        return self.usage if self.play is None else self.play()

    @cached_property
    def usage(self) -> Usage | None:
        """What the allocator allocates and reserves; None for a device that is not a CUDA device.

        If the run does not fit, it is as if memory were unlimited, which is replayed when it is asked for.
        """
        return None if self.replay is None else self.replay()

    @property
    def allocated_bytes(self) -> int | None:
        """The most that the allocator allocates, with internal allocations of operators."""
        return None if self.peaks is None else self.peaks.allocated

    @property
    def reserved_bytes(self) -> int | None:
        """The most that the allocator reserves on the device."""
        return None if self.peaks is None else self.peaks.reserved

    @property
    def kinds(self) -> Kinds | None:
        """What is allocated at the peak, by kind."""
        return None if self.usage is None else self.usage.kinds

    @property
    def allocated_at(self) -> str | None:
        """The operation at the peak."""
        return None if self.usage is None else self.usage.at

    @property
    def too_large(self) -> tuple[str, ...]:
        """The part in which memory runs out, if it does."""
        return () if self.fits or self.refused else (self.stopped_at.partition(" ")[0],)


def cuda_of(device: Device) -> Cuda | None:
    """The properties of a device that decide the internal allocations of operators; None if it is not a CUDA device."""
    capability, multiprocessors, threads = (
        device.compute_capability,
        device.multiprocessors,
        device.threads_per_multiprocessor,
    )
    if capability is None or multiprocessors is None or threads is None:
        return None
    from ..tape.inside import Cuda

    return Cuda(capability, multiprocessors, threads)


def on(passes: Passes, device: Device | None) -> Passes:
    """The passes with the attention kernels that torch runs on a device."""
    cuda = None if device is None else cuda_of(device)
    return passes if cuda is None else passes.aimed(cuda.target)


def in_bytes(passes: Passes, memory_bytes: int) -> InMemory:
    """A run of the mode of `passes` in a memory of which only the size is known."""
    why = refused(passes)
    return InMemory(not why and passes.peak_bytes <= memory_bytes, stopped_at=_where(passes), refused=why)


def in_memory(passes: Passes, device: Device) -> InMemory:
    """A run of the mode of `passes` in what a process has of a device's memory.

    The run is replayed in what there is, where torch releases what it has cached before it gives up; until it does, the
    replay is that in unlimited memory. If it does not fit, it is replayed in that too.
    """
    cuda = cuda_of(device)
    if cuda is None:
        return InMemory(passes.peak_bytes <= device.usable_bytes)
    passes = passes.aimed(cuda.target)
    why, used = refused(passes), None
    if why:
        return InMemory(False, lambda: replayed(passes, cuda), _where(passes), why)
    if _differs_by_capacity(passes.config):
        used = replayed(passes, cuda)
        if used.reserved <= device.usable_bytes:
            return InMemory(True, lambda: used)
    from ..tape.allocator import OutOfMemoryError

    try:
        used_there = replayed(passes, cuda, device.usable_bytes)
        return InMemory(True, lambda: used_there, capacity=device.usable_bytes)
    except OutOfMemoryError as error:
        return InMemory(False, lambda: used or replayed(passes, cuda), error.at)


def room(passes: Passes, device: Device) -> InMemory:
    """The same as `in_memory`, for a search over many runs: its peaks take less time, and `usage` takes more."""
    passes = on(passes, device)
    if refused(passes) or (found := script_on(passes, device)) is None:
        return in_memory(passes, device)
    from ..tape.plays import play, stopped_at

    script, cuda, usable = *found, device.usable_bytes
    stopped = stopped_at(script, usable, passes.peak_bytes)
    if stopped is None:
        return InMemory(
            True, lambda: replayed(passes, cuda, usable), capacity=usable, play=lambda: play(script, usable)
        )
    return InMemory(False, lambda: replayed(passes, cuda), stopped, play=lambda: play(script))


def script_on(passes: Passes, device: Device) -> tuple[Script, Cuda] | None:
    """The requests of a run on a CUDA device, if they can be written down."""
    cuda = cuda_of(device)
    if cuda is None or not is_written(passes.config):
        return None
    from ..tape.script import script_of

    return script_of(passes.step if passes.trains else passes.forward, cuda), cuda


def is_written(config: EncoderConfig) -> bool:
    """Whether the requests of a run can be written down, as they are in each memory."""
    from ..tape.script import has_script

    return has_script(config) and not _differs_by_capacity(config)


def _differs_by_capacity(config: EncoderConfig) -> bool:
    """Whether a run may not be the same in a memory that is larger than all it reserves in its passes.

    The addresses of segments that grow depend on the device's memory. What a model takes while DistributedDataParallel or a
    moving average is made around it is given back before the passes, as is the whole model that FSDP2 cuts into shards.
    """
    run = config.run
    trains = run.mode == "training"
    return settings_of(run.allocator).is_expandable or (trains and (run.is_ddp or run.is_fsdp or run.ema))


def refused(passes: Passes) -> str:
    """Why a run cannot be launched, and the batch size up to which it can; "" if it can."""
    if passes.refused is None:
        return ""
    name, found = passes.refused
    most = MOST_BLOCKS * passes.config.run.batch_size // found.size
    right = f"; batch_size {most} can" if found.dim == 0 and most else ""
    return f"{name}: {found.in_words}{right}"


def _where(passes: Passes) -> str:
    return "" if passes.refused is None else passes.refused[0]


def fits(passes: Passes, device: Device) -> bool:
    """Whether a run of the mode of `passes` fits a device, and can be launched there.

    It is replayed only where live bytes do not show it.
    """
    passes = on(passes, device)
    if cuda_of(device) is not None and passes.refused is not None:
        return False
    if not passes.config.run.allocator and fits_by_live(passes.peak_bytes, device.usable_bytes):
        return True
    return passes.peak_bytes - _on_host(passes) <= device.usable_bytes and _finds_room(passes, device)


def _on_host(passes: Passes) -> int:
    """Bytes of live tensors that may be in the memory of the host, where torch keeps a random state there."""
    from ..tape.kernels import SEEDS_ON_DEVICE_SINCE

    if passes.config.run.torch_version >= SEEDS_ON_DEVICE_SINCE:
        return 0
    made = (
        each for segment in passes.forward.segments for op in segment.recording.ops for each in op.allocates
    )
    return sum(rounded(each.nbytes) for each in made if each.is_on_host)


def _finds_room(passes: Passes, device: Device) -> bool:
    """Whether the allocator finds room in a device."""
    return room(passes, device).fits


def fits_by_live(live_bytes: Any, usable_bytes: int) -> Any:
    """Whether live bytes, a number or an array, are so few that a run certainly fits."""
    return FITS_IF_TIMES * live_bytes + FITS_IF_ALSO <= usable_bytes


def cuda_of_recording(made_by: Fingerprint) -> Cuda | None:
    """The same of the device of a recording; None for a CPU, and where the recording does not have it."""
    if made_by.kind == "cpu" or made_by.multiprocessors is None or made_by.threads_per_multiprocessor is None:
        return None
    from ..tape.inside import Cuda

    capability = float(made_by.compute_capability)
    # `samattn measure` switches cuDNN's attention off
    return Cuda(
        capability, made_by.multiprocessors, made_by.threads_per_multiprocessor, has_cudnn_attention=False
    )


def replayed(passes: Passes, cuda: Cuda, capacity: int | None = None) -> Usage:
    """A run of the mode of `passes` through the allocator, with the attention kernels of a device.

    Raises:
        OutOfMemoryError: if it does not fit the capacity.
    """
    from ..tape.replay import replay_forward, replay_step

    passes = passes.aimed(cuda.target)
    if passes.trains:
        return replay_step(passes.step, cuda, capacity)
    return replay_forward(passes.forward, cuda, capacity)
