"""Which kernel of scaled_dot_product_attention runs in each layer of an encoder, why, and what is not known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING

from ..reports.analysis import AttentionKernel, Finding
from ..tape.ops import Op
from ..tape.sdpa import Choice
from ..tape.sdpa_call import Target
from ..units import ranges
from .on_device import on, refused
from .passes import Passes

if TYPE_CHECKING:
    from ..device.model import Device

ASSUMED = "an A100"
TARGETS = tuple(map(Target.of, (7.5, 8.0, 8.6, 8.9, 9.0, 10.0, 12.0)))
"""Those whose choices are recorded."""


def attention_kernels(passes: Passes, device: Device | None) -> tuple[AttentionKernel, ...]:
    """The kernels of a run's forward on a device, or where none is named on an A100; () for eager attention."""
    found: dict[tuple[str, Choice], list[str]] = {}
    for twins in on(passes, device).forward_of_run.twins:
        chosen = [(op.name, op.choice) for op in twins.first.recording.ops if op.choice is not None]
        for name, kernel in product(twins.names if chosen else (), chosen):
            found.setdefault(kernel, []).append(name)
    return tuple(
        AttentionKernel(name, choice.kernel, choice.in_words, tuple(layers), passes.config.run.torch)
        for (name, choice), layers in found.items()
    )


def kernels_in(passes: Passes, number: int, device: Device | None) -> dict[str, str]:
    """The kernel of each operation of a segment that has one, in words, with the reason."""
    passed = on(passes, device)
    ops = passed.forward_of_run.segment(number).recording.ops
    return {op.name: op.choice.in_words for op in ops if op.choice is not None}


def by_capability(passes: Passes, segment: str, is_asked: Callable[[Op], bool]) -> tuple[str, ...]:
    """The kernels of operations of a segment on devices of each compute capability, in words."""
    found: dict[str, list[str]] = {}
    for target in TARGETS:
        passed = passes.aimed(target).forward_of_run
        for twins in passed.twins:
            for op in twins.first.recording.ops if segment in twins.names else ():
                if op.choice is not None and is_asked(op):
                    found.setdefault(f"{op.name}: {op.choice.in_words}", []).append(target.number)
    return tuple(f"{words} (compute capability {', '.join(numbers)})" for words, numbers in found.items())


def findings_of(
    passes: Passes, device: Device | None, kernels: tuple[AttentionKernel, ...]
) -> Iterator[Finding]:
    """What a reader should know of the kernels: which run, which cannot be launched, and what is not known of their memory."""
    where = ASSUMED if device is None else device.name
    why = refused(on(passes, device))
    if why:
        yield Finding("cannot-be-launched", f"On {where} this run stops with an error. {why}.")
    if kernels:
        depth = len(passes.config.layers)
        runs = ". ".join(f"{_which(kernel.layers, depth)}: {kernel.words}" for kernel in kernels)
        yield Finding(
            "attention-kernel",
            f"On {where} torch {kernels[0].torch} runs these kernels of attention. {runs}.",
        )
    yield from _unknown(where, kernels)


def _unknown(where: str, kernels: tuple[AttentionKernel, ...]) -> Iterator[Finding]:
    unfused = [layer for kernel in kernels if kernel.kernel == "math" for layer in kernel.layers]
    if any(kernel.kernel == "cudnn" for kernel in kernels):
        yield Finding(
            "cudnn-workspace",
            f"cuDNN does not document how much workspace its attention takes. For {where} the figures take what an H200 took, "
            "with torch 2.11 and cuDNN 9.19: 4 * B * h * N * (d + 1) + 256 bytes in a backward, 256 bytes in a forward. "
            "torch.backends.cuda.enable_cudnn_sdp(False) makes torch run flash or memory-efficient attention, whose memory is "
            "known from torch's source.",
        )
    if unfused:
        everywhere = all(kernel.kernel == "math" for kernel in kernels)
        there = "" if everywhere else f" in {_blocks(unfused)}"
        yield Finding(
            "unfused-attention",
            f"No fused kernel of attention runs on {where}{there}. So sdpa makes the matrix of scores, in float32 whatever the "
            "type of the run, and another matrix for its softmax. The figures have both.",
        )


def _which(layers: Sequence[str], depth: int) -> str:
    """The layers that run a kernel, of so many."""
    return "All layers" if len(set(layers)) == depth else _blocks(layers)


def _blocks(layers: Sequence[str]) -> str:
    return f"blocks {ranges(sorted(int(name.rpartition('.')[2]) for name in layers))}"
