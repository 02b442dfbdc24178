"""Measures one case in this process: first memory, while nothing else is allocated, then time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..encoder.model import EncoderConfig, RunConfig, Section
from ..reports.recording import CompileMode, Latency, MeasuredLayer, Measurement, Outcome
from .compiled import usage_of_compiled
from .fingerprint import choose
from .latency import CpuClock, CudaClock, section_latencies, whole_latency
from .memory import Usage, snapshot_to, usage_on_cpu, usage_on_cuda
from .step import Step

NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""Words in the errors of CUDA, its libraries and the CPU allocator when memory runs out."""


@dataclass(frozen=True)
class How:
    """How a case is measured.

    Attributes:
        snapshot: path for torch's memory snapshot (CUDA only).
        repeats: how often a pass is timed; None: until that is enough.
        timed: False for a dry run, whose kernels do not run.
        compiled: the mode of torch.compile (CUDA only); "" runs the model as it is.
    """

    snapshot: Path | None = None
    repeats: int | None = None
    timed: bool = True
    compiled: CompileMode = ""


def outcome_of(config: EncoderConfig, device: str, how: How) -> Outcome:
    """Measure `config`. Running out of memory is an outcome, and so is any other error."""
    try:
        return Outcome(status="measured", measured=measure(config, device, how))
    except Exception as error:  # noqa: BLE001 - any error is the outcome of this case, which has a process of its own
        return Outcome(
            status="out of memory" if is_out_of_memory(error) else "failed", message=reason_of(error)
        )


def reason_of(error: Exception) -> str:
    """The class and the first line of an error; with the next line if the first ends in a colon, as that of torch.compile."""
    first, *others = str(error).strip().splitlines() or [""]
    words = [first, *others[:1]] if first.endswith(":") else [first]
    return f"{type(error).__name__}: {' '.join(words)}"


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or any(words in str(error) for words in NO_MEMORY)


def measure(config: EncoderConfig, device: str, how: How) -> Measurement:
    """Memory and time of a pass of `config` on `device` ("cpu", "cuda" or "cuda:1"), in total and by part and block."""
    on_cuda = device != "cpu"
    if on_cuda:
        set_up_cuda(device, config.run)
    make = partial(Step, config, device)
    with snapshot_to(how.snapshot):
        step, usage = _used(make, how, on_cuda=on_cuda)
    whole, times = _latencies(step, how, on_cuda=on_cuda) if how.timed else (None, {})
    has_kernels = config.run.attention != "eager" and not how.compiled
    return Measurement(
        baseline_bytes=usage.baseline_bytes,
        peak_allocated_bytes=usage.peak_allocated_bytes,
        peak_reserved_bytes=usage.peak_reserved_bytes,
        peak_requested_bytes=usage.peak_requested_bytes,
        workspace_bytes=usage.workspace_bytes,
        attention_kernels=attention_kernels(step) if has_kernels else (),
        latency=whole,
        layers=tuple(
            MeasuredLayer(name, phase, peak, times.get((name, phase)))
            for (name, phase), peak in usage.section_bytes.items()
        ),
    )


def _used(make: Callable[[], Step], how: How, *, on_cuda: bool) -> tuple[Step, Usage]:
    if how.compiled:
        return usage_of_compiled(make, how.compiled)
    return usage_on_cuda(make) if on_cuda else usage_on_cpu(make)


def _latencies(step: Step, how: How, *, on_cuda: bool) -> tuple[Latency, Mapping[Section, Latency]]:
    """Latency of the whole pass, and of each section."""
    clock = CudaClock() if on_cuda else CpuClock()
    step()  # warm up again: measuring memory freed the workspaces
    clock.wait()
    whole = whole_latency(step, clock, how.repeats)
    return whole, {} if how.compiled else section_latencies(step, clock, how.repeats)


def set_up_cuda(device: str, run: RunConfig) -> None:
    """Set TF32 of products to that of the config, and switch off cuDNN attention.

    torch's default for convolutions, TF32 on, stays. Without cuDNN attention, flash or memory-efficient attention runs,
    whose allocations are known.
    """
    choose(device)
    torch.backends.cuda.matmul.allow_tf32 = run.tf32
    torch.backends.cuda.enable_cudnn_sdp(False)


def attention_kernels(step: Step) -> tuple[str, ...]:
    """The attention kernels that a pass runs, by ATen's names."""
    mode = _AttentionKernels()
    try:
        with mode:
            step()
    except Exception as error:
        # a pass under a dispatch mode takes a little more memory, and everything else has been measured by now
        if not is_out_of_memory(error):
            raise
    return tuple(sorted(mode.names))


class _AttentionKernels(TorchDispatchMode):
    """Notes the operations with "attention" in their name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and note its name."""
        name = func.overloadpacket.__name__
        if "attention" in name and not name.endswith("backward"):
            self.names.add(name)
        return func(*args, **(kwargs or {}))
