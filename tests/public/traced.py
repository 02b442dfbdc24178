"""Other people's models by `samattn trace`, FlopCounterMode and torch's MemTracker: which are equal, which are not.

    PYTHONPATH=. python -m tests.public.traced inference            # all that this environment has
    PYTHONPATH=. python -m tests.public.traced training swin sam    # those with one of these words in their name

MemTracker runs the same module on fake CUDA tensors, and also rounds each allocation to 512 bytes. Its attention kernels are
those that `stack/tracing/as_cuda.py` chooses, so it checks allocations and lifetimes, not that choice: the dry device does.
A step is a forward and a backward, without an optimizer. The backward of fake CUDA tensors needs a CUDA device, so with torch's
CUDA build the script runs on the dry device. timm and torchvision need a torch that fits them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from samattn_cli.device.dry.environment import environment
from samattn_cli.device.load import load_device
from samattn_cli.reports.trace import TracedOp
from samattn_cli.stack.dynamo import without_dynamo
from samattn_cli.stack.tracing import as_cuda
from samattn_cli.stack.tracing.run import Inputs, trace
from samattn_cli.studies.traced.passes import TracedPasses
from samattn_cli.studies.traced.report import report_of
from tests.public.mem_tracker import DEVICE, tracked
from tests.public.traced_models import PIXELS, Model, models, module_of
from tests.support.ampere import ON_AMPERE


class Peak(NamedTuple):
    """A peak by the trace, rounded and not, and by MemTracker, or why that cannot say."""

    ours: int
    unrounded: int
    theirs: int | str

    @property
    def in_words(self) -> str:
        if self.theirs == (self.ours if DEVICE == "cuda" else self.unrounded):
            return "equal"
        if isinstance(self.theirs, str):
            return f"fails: {self.theirs}"
        return f"{self.theirs / 2**20:,.2f} ({self.theirs - self.ours:+,} B)"


class Row(NamedTuple):
    """What was found."""

    name: str
    params: bool
    flops: bool
    peak: Peak
    layers: str

    def __str__(self) -> str:
        flags = ("equal" if each else "**differ**" for each in (self.params, self.flops))
        peak = f"{self.peak.ours / 2**20:,.2f} | {self.peak.in_words}"
        return f"| {' | '.join((self.name, *flags, peak, self.layers))} |"


def compared(model: Model, mode: str) -> Row:
    module, shapes = module_of(model)
    inputs = Inputs({name: (shape, "float32") for name, shape in shapes.items()}, "meta")
    passes = TracedPasses(trace(module, inputs, mode, [], ON_AMPERE), "sgd")
    report = report_of(passes, model.name, mode, "sgd")
    kinds = {f"{layer.type} {layer.placement}".rstrip() for layer in report.layers}
    ops = passes.trace.step or passes.trace.forward
    ours = report.totals.training_bytes or report.totals.peak_bytes
    return Row(
        model.name,
        report.totals.params == sum(weight.numel() for weight in module.parameters()),
        report.totals.flops == counted(module, inputs),
        Peak(ours, unrounded(passes, ops), _attempt(module, inputs, mode)),
        f"{len(report.layers)}: {', '.join(sorted(kinds))}",
    )


def unrounded(passes: TracedPasses, ops: Sequence[TracedOp]) -> int:
    """The peak of operations in bytes as asked for."""
    traced = passes.trace
    live = (
        sum(weight.nbytes for weight in traced.weights) + sum(traced.buffer_bytes) + sum(traced.input_bytes)
    )
    sizes, peak = {}, live
    for op in ops:
        for storage in op.allocates:
            sizes[storage.id] = storage.nbytes
            live += storage.nbytes
        peak = max(peak, live)
        live -= sum(sizes[number] for number in op.frees)
    return peak


def _attempt(module: nn.Module, inputs: Inputs, mode: str) -> int | str:
    """The peak by MemTracker, or why it cannot say."""
    try:
        return tracked(module, inputs, mode)
    except Exception as error:  # noqa: BLE001 - the table says so
        return _first_line(error, 80)


def _row(model: Model, mode: str) -> str:
    """The row of a model, also of one that cannot run."""
    try:
        return str(compared(model, mode))
    except Exception as error:  # noqa: BLE001 - the table says so
        return f"| {model.name} | {_first_line(error, 200)} |"


def _first_line(error: Exception, most: int) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:most]}"


def counted(module: nn.Module, inputs: Inputs) -> int:
    library = as_cuda.install(ON_AMPERE)
    trains = [weight for weight in module.parameters() if weight.requires_grad]
    module.eval().requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs.args, **inputs.kwargs)
    for weight in trains:
        weight.requires_grad_()
    del library
    return int(counter.get_total_flops())


def on_the_dry_device(module: str, words: list[str], device: str = "a100_80") -> None:
    """Run a module as a script again, on the dry device, if torch has CUDA and this process is not on it."""
    if torch.version.cuda and "SAMATTN_DRY_NAME" not in os.environ:
        variables = environment(load_device(device, ""))
        os.execve(sys.executable, (sys.executable, "-m", module, *words), {**os.environ, **variables})


def main(mode: str, *words: str) -> None:
    on_the_dry_device("tests.public.traced", [mode, *words])
    print("| model | parameters | FLOPs | peak, MiB | MemTracker, MiB | layers |", flush=True)
    print("| :-- | :-- | :-- | --: | --: | :-- |", flush=True)
    with without_dynamo():
        for model in models(list(words)):
            print(_row(model, mode), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

__all__ = ["DEVICE", "PIXELS", "Model", "compared", "models", "module_of"]
