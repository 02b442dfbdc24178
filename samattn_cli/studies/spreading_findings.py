"""Findings about how a training step is spread over GPUs: what FSDP2 pads, and what DDP refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..reports.analysis import Finding
from ..tape.padding import Padded, padded
from ..tape.training import OPTIMIZERS
from ..units import ITEM_BYTES, format_bytes, format_things

if TYPE_CHECKING:
    from .passes import Passes

MIB = 1 << 20
WORTH_NAMING = MIB
"""Padding of a weight, from which on it is named."""
MOST_NAMED = 3


def of_spreading(passes: Passes) -> Iterator[Finding]:
    """The findings about a step on several GPUs."""
    run = passes.config.run
    if run.gpus == 1:
        return
    if run.is_fsdp:
        yield from _padding(passes)
    if run.is_ddp:
        yield from _unused(passes)


def padded_weights(passes: Passes) -> tuple[Padded, ...]:
    """The weights that FSDP2 pads on the GPUs of a run, as they are gathered."""
    run = passes.config.run
    weights = ((name, weight.shape) for name, weight in passes.step.weights.items())
    return padded(weights, run.gpus, ITEM_BYTES[run.computes_in])


def _padding(passes: Passes) -> Iterator[Finding]:
    every = padded_weights(passes)
    large = [weight for weight in every if weight.padding_bytes >= WORTH_NAMING]
    if not large:
        return
    named, others = large[:MOST_NAMED], every[min(len(large), MOST_NAMED) :]
    said = [_said(weight, _state_bytes(weight, passes)) for weight in named]
    remedies = [_remedy(weight, _state_bytes(weight, passes)) for weight in named]
    if others:
        rest = format_bytes(sum(weight.padding_bytes for weight in others))
        are = "is" if len(others) == 1 else "are"
        said.append(f"{format_things(len(others), 'other weight')} {are} padded too, by {rest} in all.")
    yield Finding(
        "fsdp2-padding", f"FSDP2 cuts dimension 0 into equal shards, and pads them. {' '.join(said)}"
    )
    yield Finding("fsdp2-padding-remedy", f"What helps against FSDP2's padding. {' '.join(remedies)}")


def _said(weight: Padded, state_bytes: int) -> str:
    """What padding makes of a weight."""
    gpus, whole = weight.ranks, format_bytes(weight.whole_bytes)
    what = (
        f"{weight.name}, {weight.shape}, has {whole}, and each of {gpus} GPUs gathers it into "
        f"{format_bytes(weight.gathered_bytes)}."
    )
    if weight.shape[0] < gpus:
        share = format_bytes(state_bytes * weight.shard_bytes // weight.whole_bytes)
        what += f" The first GPU has {share} of its state: the weight, its gradient and the optimizer's."
    return what


def _remedy(weight: Padded, state_bytes: int) -> str:
    """What helps against the padding of a weight."""
    dimension, what = weight.even_dimension, f"{weight.name}:"
    if dimension is not None:
        what += (
            f" cut along dimension {dimension} (shard_placement_fn=lambda weight: Shard({dimension}) for it), "
            f"{format_bytes(weight.whole_bytes)} are gathered, and each GPU has {format_bytes(state_bytes // weight.ranks)} of "
            "its state;"
        )
    return what + (
        " in a module and group of its own (fully_shard), it is gathered only while it is used; among ignored_params it is not "
        f"gathered, but each GPU has {format_bytes(state_bytes)} of its state, and you reduce its gradient."
    )


def _state_bytes(weight: Padded, passes: Passes) -> int:
    """A weight on one GPU, with its gradient and the optimizer's state if it trains, in the type of shards."""
    run = passes.config.run
    trains = passes.step.weights[weight.name].trains
    copies = 2 + OPTIMIZERS[run.optimizer].state if trains else 1
    return weight.whole_bytes // weight.item_bytes * ITEM_BYTES[run.dtype] * copies


def _unused(passes: Passes) -> Iterator[Finding]:
    """Weights that get no gradient, at which DDP stops."""
    unused = [
        segment.qualified(weight.name)
        for segment in passes.step.forward.segments
        for op in segment.recording.ops
        if op.kind == "unused" or (segment.is_unread and segment.name in passes.config.trained)
        for weight in op.parameters
    ]
    if unused:
        yield Finding(
            "ddp-unused-weights",
            f"{format_things(len(unused), 'weight')} have no effect on the outputs, such as {unused[0]}. DistributedDataParallel "
            "stops in the second step, because they get no gradient: freeze or remove them. With find_unused_parameters=True, "
            "which no figure here assumes, it runs.",
        )
