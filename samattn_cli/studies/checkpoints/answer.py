"""The blocks to checkpoint so that a training step fits a memory, as `samattn fit` answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...device.model import Device
from ...encoder.checkpointed import spelled
from ...encoder.model import EncoderConfig
from ...encoder.plan import LayerConfig
from ...encoder.plan_rules import is_valid
from ...encoder.registry import REFERENCE
from ...errors import Message
from ...records import replace
from ...reports.candidate import Candidate
from ...reports.checkpoints import CheckpointAnswer, Checkpointed, CheckpointStatus
from ..on_device import cuda_of, fits, on
from ..passes import Passes
from .blocks import with_blocks
from .front import Choice
from .search import Found, in_bytes, on_device

CandidateOf = Callable[[EncoderConfig, int | Device], Candidate]


def answer(config: EncoderConfig, memory: int | Device, candidate: CandidateOf) -> CheckpointAnswer:
    """The blocks to checkpoint under the kernel of a config.

    Args:
        config: the encoder; its own choice of blocks does not matter.
        memory: the bytes of a process, or a device.
        candidate: works out the memory of an encoder.
    """
    config = replace(config, run=replace(config.run, mode="training", checkpointing=False))
    kernel = config.run.attention
    if problem := _problem(config):
        return CheckpointAnswer(attention=kernel, status="does not apply", message=problem)
    found = (
        _of_library(config, memory, candidate)
        if config.implementation != REFERENCE
        else _search(config, memory)
    )
    best = _checkpointed(config, (found.choice or found.nearest).blocks, memory, candidate)
    every = tuple(range(len(config.layers)))
    is_proven = found.choice is not None and found.untried == 0
    least = best.recomputed_flops if is_proven else found.least_flops
    status: CheckpointStatus = (
        "none fits" if found.choice is None else "fits" if best.blocks else "fits as it is"
    )
    return CheckpointAnswer(
        attention=kernel,
        status=status,
        best=best,
        least_flops=least,
        least_more_flops=_share(least, best),
        every=None if best.blocks == every else _checkpointed(config, every, memory, candidate),
        untried=found.untried,
        replayed=found.replayed,
    )


def _share(flops: int | None, best: Checkpointed) -> float | None:
    """FLOPs as a share of those of a step that checkpoints nothing."""
    if flops is None:
        return None
    return flops / best.recomputed_flops * best.more_flops if best.recomputed_flops else 0.0


def _problem(config: EncoderConfig) -> str:
    """Why a choice of blocks makes no difference, or cannot be worked out; "" if it can."""
    if config.run.is_fsdp:
        return Message(
            "not-derived-yet",
            "the search for blocks to checkpoint is not derived for sharded steps: use run.parallel none or ddp",
        )
    if not is_valid(with_blocks(config, range(len(config.layers)))):
        return Message("unsupported-checkpointing", f"{config.implementation} does not checkpoint blocks")
    return ""


def _search(config: EncoderConfig, memory: int | Device) -> Found:
    """The search among all choices."""
    if isinstance(memory, int):
        return in_bytes(config, memory)
    cuda = cuda_of(memory)
    if cuda is None:
        return in_bytes(config, memory.usable_bytes)
    return on_device(config, cuda, memory.usable_bytes, lambda choice: fits(Passes(choice, memory), memory))


def _of_library(config: EncoderConfig, memory: int | Device, candidate: CandidateOf) -> Found:
    """A library checkpoints all blocks, or none."""
    every = tuple(range(len(config.layers)))
    made = [(blocks, candidate(with_blocks(config, blocks), memory)) for blocks in ((), every)]
    choices = [Choice(blocks, 0, encoder.peak_bytes) for blocks, encoder in made]
    fitting = (choice for choice, (_, encoder) in zip(choices, made, strict=True) if encoder.fits)
    return Found(next(fitting, None), choices[-1], None, replayed=len(made))


def _checkpointed(
    config: EncoderConfig, blocks: tuple[int, ...], memory: int | Device, candidate: CandidateOf
) -> Checkpointed:
    chosen = with_blocks(config, blocks)
    passes = Passes(chosen) if isinstance(memory, int) else on(Passes(chosen, memory), memory)
    again = passes.step.recomputed_flops
    return Checkpointed(
        blocks=blocks,
        checkpointing=spelled(blocks, config.layers),
        words=words_of(blocks, config.layers),
        recomputed_flops=again,
        more_flops=again / (passes.step.flops - again),
        recomputed_ms=passes.recomputed_ms,
        encoder=candidate(chosen, memory),
    )


def words_of(blocks: Sequence[int], layers: Sequence[LayerConfig]) -> str:
    """Blocks in words: "2, 5, 8 and 11 (global)", or "0-5 (windowed), 7 and 15 (global)"."""
    if len(blocks) == len(layers):
        return f"all {len(layers)}"
    kinds = {
        "windowed": [b for b in blocks if layers[b].is_windowed],
        "global": [b for b in blocks if layers[b].is_global],
        "over channels": [b for b in blocks if layers[b].over_channels],
        "convolutions": [b for b in blocks if not layers[b].placement.attends],
    }
    return " and ".join(f"{_listed(numbers)} ({kind})" for kind, numbers in kinds.items() if numbers)


def _listed(numbers: Sequence[int]) -> str:
    """Numbers in words; those that follow each other as a range."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    *most, last = (f"{each[0]}-{each[-1]}" if len(each) > 1 else f"{each[0]}" for each in ranges)
    return f"{', '.join(most)} and {last}" if most else last
