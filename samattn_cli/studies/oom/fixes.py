"""Which changes of how an encoder is run would make it fit what a message says that the process can use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...encoder.model import EncoderConfig
from ...reports.oom import OomFix, OomMessage
from ...tape.allocator import OWN_STEP
from ..changes import candidates as single_changes
from ..on_device import replayed
from ..passes import Passes
from .places import with_run
from .rank import Match, beside

if TYPE_CHECKING:
    from ...tape.inside import Cuda

MOST_STEPS = 4
MOST_OPS = 60_000
"""Runs of more operations are not replayed: their live bytes stand for what the allocator takes."""


def memory_of(message: OomMessage) -> int | None:
    """What the allocator can reserve in all, by a message: what it has, and what the device has free."""
    reserved = reserved_of(message)
    if reserved is None or message.free is None:
        return None
    free = (message.free.low_bytes + message.free.high_bytes) // 2
    can = reserved + free
    return can if message.allowed is None else min(can, message.allowed.high_bytes)


def memories_of(message: OomMessage) -> list[int]:
    """What the allocator can reserve in all, each size that prints the message so, in steps of a segment."""
    middle = memory_of(message)
    if middle is None:
        return []
    parts = (
        message.reserved or message.allocated,
        None if message.reserved else message.unallocated,
        message.free,
    )
    spread = sum(each.high_bytes - each.low_bytes for each in parts if each is not None) // 2
    steps = min(spread // OWN_STEP, MOST_STEPS)
    return [middle + step * OWN_STEP for step in sorted(range(-steps, steps + 1), key=abs)]


def reserved_of(message: OomMessage) -> int | None:
    """What the allocator has reserved."""
    if message.reserved is not None:
        return (message.reserved.low_bytes + message.reserved.high_bytes) // 2
    if message.allocated is None or message.unallocated is None:
        return None
    sums = (message.allocated, message.unallocated)
    return sum(each.low_bytes + each.high_bytes for each in sums) // 2


def fixes_of(match: Match, message: OomMessage, cuda: Cuda, memory: int | None) -> tuple[OomFix, ...]:
    """The changes that lower the peak of a run, those that fit first, the least change first."""
    config = match.setting.config
    room = None if memory is None else memory - max(beside(match.asked, message) or 0, 0)
    found = [_fix(change, changed, keys, cuda, room) for change, changed, keys in single_changes(config)]
    smaller = None if room is None else _smaller_batch(config, cuda, room)
    now = Passes(config).peak_bytes
    worth = [
        fix for fix in (*found, *([smaller] if smaller else [])) if fix.allocated_bytes < now or fix.fits
    ]
    return tuple(sorted(worth, key=lambda fix: (not fix.fits, fix.allocated_bytes)))


def _fix(change: str, config: EncoderConfig, keys: tuple[str, ...], cuda: Cuda, room: int | None) -> OomFix:
    nbytes, fits = _taken(config, cuda, room)
    return OomFix(change=change, set=keys, allocated_bytes=nbytes, fits=fits)


def _taken(config: EncoderConfig, cuda: Cuda, room: int | None) -> tuple[int, bool | None]:
    """What a run takes, and whether it fits."""
    from ...tape.allocator import OutOfMemoryError

    passes = Passes(config)
    passes = passes.aimed(cuda.target)
    if sum(map(len, passes.sections.values())) > MOST_OPS:
        peak = int(passes.peak_bytes)
        return peak, None if room is None else peak <= room
    used = replayed(passes, cuda)
    if room is None or used.reserved <= room:
        return used.allocated, None if room is None else True
    try:
        replayed(passes, cuda, room)
    except OutOfMemoryError:
        return used.allocated, False
    return used.allocated, True


def _smaller_batch(config: EncoderConfig, cuda: Cuda, room: int) -> OomFix | None:
    """The largest smaller batch that fits."""
    low, high, found = 1, config.run.batch_size - 1, None
    while low <= high:
        batch = (low + high) // 2
        nbytes, fits = _taken(with_run(config, batch_size=batch), cuda, room)
        if fits:
            low = batch + 1
            found = OomFix(
                change=f"a batch of {batch}",
                set=(f"run.batch_size={batch}",),
                allocated_bytes=nbytes,
                fits=True,
            )
        else:
            high = batch - 1
    return found
