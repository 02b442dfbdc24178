"""The answer of `samattn oom`."""

from __future__ import annotations

from typing import Literal

from ..encoder.model import EncoderConfig
from ..records import dataclass
from ..version import __version__
from . import SCHEMA_VERSION
from .shown import Shown

Verdict = Literal["operation", "possible", "none"]
"""One operation explains the message; one or several could, which the message does not prove; or none does."""


@dataclass(frozen=True)
class Printed:
    """A size as it was printed, and the bytes that are printed so: from `low_bytes` to `high_bytes`, both included.

    What was tried is a segment, or the request itself (`is_request`) by the backend cudaMallocAsync.
    """

    text: str
    low_bytes: int
    high_bytes: int
    is_request: bool = False


@dataclass(frozen=True)
class Frame:
    """A call of a traceback: the file, the line, the function, and the code of the line."""

    file: str
    line: int
    function: str
    code: str


@dataclass(frozen=True, kw_only=True)
class OomMessage:
    """The figures of an error, as torch printed them; None for those that its form does not have.

    Attributes:
        device: "CUDA" or "HIP".
        gpu: the number of the GPU.
        tried: the segment that the allocator requested from the device.
        capacity: the memory of the device.
        free: what the device has free.
        allocated: what the allocator has allocated.
        reserved: what it has reserved in all.
        unallocated: what it has reserved and not allocated.
        in_use: what this process has in use, torch's context included.
        allowed: the limit that torch.cuda.set_per_process_memory_fraction set.
        private_pools: what CUDA graphs have allocated, of `allocated`.
        others: what other processes have in use.
        ranks: how many processes printed it.
        frames: the traceback, the innermost call last.
    """

    device: Literal["CUDA", "HIP"]
    gpu: int | None
    tried: Printed
    capacity: Printed | None = None
    free: Printed | None = None
    allocated: Printed | None = None
    reserved: Printed | None = None
    unallocated: Printed | None = None
    in_use: Printed | None = None
    allowed: Printed | None = None
    private_pools: Printed | None = None
    others: tuple[Printed, ...] = ()
    ranks: int = 1
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OomFix:
    """A change of how the encoder is run, what to set for it, and whether the run then fits what the message says."""

    change: str
    set: tuple[str, ...]
    allocated_bytes: int
    fits: bool | None


@dataclass(frozen=True, kw_only=True)
class OomCandidate:
    """Operations of one name that ask for the printed size.

    Attributes:
        score: how unlikely it is, for comparison with the other candidates: less is likelier.
        preset: the preset, where no config was given; else "".
        setting: what differs from the config, in words: "batch_size 6"; "" if nothing.
        set: the settings of it.
        op: the operation, by its name in a layer.
        phase: "forward", "backward", "step" (the optimizer's), or "build" (the weights).
        layers: the layers or parts in which it asks for that much, the likeliest first.
        round: "first" or "later" pass or step.
        is_internal: whether the operator asks for it for itself, and not for its result.
        asks_bytes: the request, rounded up to 512.
        segment_bytes: the segment that the allocator requests from the device.
        live_bytes: what is allocated before it, of the encoder alone.
        beside_bytes: what the message has allocated in addition; None where it does not say.
        needs_bytes: what is live with it. An encoder alone runs out of memory here first if it can have less than this, and at least
            `needs_before_bytes`.
        needs_before_bytes: the most that an earlier request of the run needs.
        runs_out_here: whether a replay in the memory of the message runs out at this operation.
        from_device: whether in a replay without a limit the device is asked for a segment here; if not, a free block serves it.
        in_traceback: whether the last line of the traceback is this operation; None without a traceback.
        code: the line of code of the implementation, where it is known.
        module: the file and function of that line.
        others: how many other operations of the same run ask for the same size.
    """

    score: float
    preset: str
    setting: str
    set: tuple[str, ...]
    op: str
    phase: str
    layers: tuple[str, ...]
    round: Literal["first", "later"]
    is_internal: bool
    asks_bytes: int
    segment_bytes: int
    live_bytes: int
    beside_bytes: int | None
    needs_bytes: int
    needs_before_bytes: int
    runs_out_here: bool
    from_device: bool
    in_traceback: bool | None
    code: str = ""
    module: str = ""
    others: int = 0


@dataclass(frozen=True, kw_only=True)
class Oom(Shown):
    """The answer of `samattn oom`.

    Attributes:
        config: the encoder; None where none was given.
        message: the figures of the error.
        verdict: whether an operation fits it.
        answer: the verdict in a sentence.
        candidates: operations that fit it, the likeliest first.
        left_out: how many more there are.
        tried_settings: how many settings were tried.
        by_chance: of operations of these settings, how many would ask for a size of about this magnitude that has nothing to do
            with them.
        memory_bytes: what the process can use, as the message says.
        fixes: the changes of how the encoder is run, the smallest first.
        notes: what else is to be known.
    """

    config: EncoderConfig | None
    message: OomMessage
    verdict: Verdict
    answer: str
    candidates: tuple[OomCandidate, ...]
    left_out: int
    tried_settings: int
    by_chance: float
    memory_bytes: int | None
    fixes: tuple[OomFix, ...]
    notes: tuple[str, ...]
    kind: Literal["oom"] = "oom"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__
