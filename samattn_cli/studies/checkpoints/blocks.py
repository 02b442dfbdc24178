"""What each block adds to the memory of a training step, checkpointed and not, from passes over the Tape.

The forward adds to what is live what autograd keeps of each block. The backward takes it away again. So the bytes that are
live in a block's forward are a sum over the blocks before it. Those that are live in its backward are what is live at the
end, and a sum over the blocks before it. Each term depends on whether that block is checkpointed, and on nothing else. There is
one exception: where blocks tap a part, the first block that keeps its output frees it. Then the terms of a block also depend on
whether a block before it is checkpointed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, product
from typing import TYPE_CHECKING

from ...encoder.checkpointed import checkpointing_of
from ...encoder.model import EncoderConfig
from ...records import dataclass, replace
from ...tape.memory import live_over
from ...tape.ops import Recording
from ...tape.segments import Segment
from ...tape.training import TrainingStep, training_step, uncached_bytes
from ...units import rounded

if TYPE_CHECKING:
    from ...tape.inside import Cuda


@dataclass(frozen=True)
class Block:
    """What a part or block adds to a step.

    Attributes:
        flops: that its backward computes again.
        kept: bytes that are live after its forward and not before.
        kept_rise: the most that is live in its forward, minus what is live before.
        stays: `kept`, without autocast's copies that go when the forward ends.
        undone: bytes that its backward frees, minus those that it leaves.
        undone_rise: the most that is live in its backward, minus what is live before.
    """

    flops: int
    kept: int
    kept_rise: int
    stays: int
    undone: int
    undone_rise: int


Variants = dict[tuple[bool, bool], Block]
"""By (whether it is checkpointed, whether a block before it is); the second matters only where blocks tap a part."""


@dataclass(frozen=True)
class Blocks:
    """A training step as a sum over its parts and blocks.

    Attributes:
        variants: of each part and block, in order.
        numbers: the numbers of the blocks in `variants`; None for a part.
        in_forward: bytes live before the first forward.
        in_backward: bytes live before the first backward, without what the forward keeps.
        at_the_end: bytes live after the last backward.
        elsewhere: the peak of the optimizer's step.
        operations: of a micro-batch's forward and backward.
    """

    variants: tuple[Variants, ...]
    numbers: tuple[int | None, ...]
    in_forward: int
    in_backward: int
    at_the_end: int
    elsewhere: int
    operations: int

    @property
    def depth(self) -> int:
        """How many blocks there are."""
        return sum(number is not None for number in self.numbers)

    def is_choice(self, at: int) -> bool:
        """Whether it makes a difference to checkpoint a part or block."""
        return (
            self.numbers[at] is not None and self.variants[at][True, False] != self.variants[at][False, False]
        )


def with_blocks(config: EncoderConfig, blocks: Sequence[int]) -> EncoderConfig:
    """An encoder that checkpoints these blocks."""
    return replace(
        config, run=replace(config.run, checkpointing=checkpointing_of(blocks, len(config.layers)))
    )


def blocks_of(config: EncoderConfig, cuda: Cuda | None = None) -> Blocks:
    """The blocks of an encoder's training step; on a CUDA device with its kernels and what operators take inside."""
    reader = _Reader(config, cuda)
    none, every = reader.read(()), reader.read(range(len(config.layers)))
    has_taps = any(layer.taps for layer in config.layers)
    variants = [
        {
            (chosen, before): (every if chosen else none)[at]
            for chosen, before in product((False, True), repeat=2)
        }
        for at in range(len(none))
    ]
    step = reader.step(())
    numbers = tuple(_number(segment) for segment in step.forward.segments)
    if has_taps:
        _by_context(reader, variants, numbers, [id(segment.recording) for segment in step.forward.segments])
    return Blocks(
        variants=tuple(variants),
        numbers=numbers,
        in_forward=step.before[step.forward.segments[0].name, "forward"] + reader.workspaces("forward"),
        in_backward=_begun(step) + reader.workspaces("backward"),
        at_the_end=_ended(step) + reader.workspaces("backward"),
        elsewhere=step.peaks["optimizer", "step"] + reader.workspaces("backward"),
        operations=_operations(step),
    )


def _number(segment: Segment) -> int | None:
    """The number of a block that may be checkpointed; one whose outputs nothing reads has no backward."""
    return None if segment.layer is None or segment.is_unread else segment.layer.index


def _operations(step: TrainingStep) -> int:
    recordings = [*(segment.recording for segment in step.forward.segments), *step.recordings]
    return sum(len(recording.ops) for recording in recordings)


def _begun(step: TrainingStep) -> int:
    """What is live when the backward begins, without what the forward keeps."""
    live = step.before[step.forward.segments[-1].name, "backward"]
    return int(live - step.kept_bytes)


def _ended(step: TrainingStep) -> int:
    first = step.forward.segments[0].name
    return int(step.before[first, "backward"] + live_over(step.recordings[0]).change)


def _by_context(
    reader: _Reader, variants: list[Variants], numbers: Sequence[int | None], alike: Sequence[int]
) -> None:
    """The terms of each block where it is the first that is checkpointed, and where another is.

    Args:
        reader: reads the terms.
        variants: receives them.
        numbers: of the blocks.
        alike: a number for each part and block, the same where their forwards have one recording.
    """
    choices = [at for at, each in enumerate(variants) if each[True, False] != each[False, False]]
    choices = [at for at in choices if numbers[at] is not None]
    blocks = [number for at in choices if (number := numbers[at]) is not None]
    after_first = reader.read(blocks[:1])
    for at in choices[1:]:
        variants[at][False, True] = after_first[at]
    firsts: dict[tuple[int, Block], Block] = {}
    for place, at in enumerate(choices):
        kind = alike[at], variants[at][True, False]
        if kind not in firsts:
            firsts[kind] = reader.read_one(blocks[place:], at)
        variants[at][True, False] = firsts[kind]


class _Reader:
    """Reads the terms of steps in which some blocks are checkpointed."""

    def __init__(self, config: EncoderConfig, cuda: Cuda | None) -> None:
        self.config = config
        self.cuda = None if cuda is None else replace(cuda, torch=config.run.torch_version)

    def step(self, blocks: Sequence[int]) -> TrainingStep:
        """The step that checkpoints these blocks."""
        config = with_blocks(self.config, blocks)
        return training_step(config) if self.cuda is None else training_step(config, self.cuda.target)

    def read(self, blocks: Sequence[int]) -> tuple[Block, ...]:
        """The terms of each part and block."""
        step = self.step(blocks)
        return tuple(self._read(step, at) for at in range(len(step.forward.segments)))

    def read_one(self, blocks: Sequence[int], at: int) -> Block:
        """The terms of one part or block."""
        return self._read(self.step(blocks), at)

    def _read(self, step: TrainingStep, at: int) -> Block:
        segment, kept, recording = step.forward.segments[at], step.kept[at], step.recordings[at]
        back = live_over(recording)
        runs = step.accumulating[at].recording
        elsewhere = self._on_host(segment.recording, segment.kept | segment.shared)
        return Block(
            flops=step.micro_batches * (recording.flops - runs.flops),
            kept=kept.change - elsewhere,
            kept_rise=max(kept.peak_bytes - self._on_host(segment.recording), self._forward_rise(segment)),
            stays=kept.change - elsewhere - uncached_bytes(segment),
            undone=-back.change - elsewhere,
            undone_rise=max(
                back.peak_bytes - self._on_host(recording), self._rise(recording, segment.recording.saved)
            ),
        )

    def _on_host(self, recording: Recording, among: frozenset[object] | None = None) -> int:
        """Bytes of what a recording makes in the memory of the host, which count as live, but not on a device."""
        if self.cuda is None:
            return 0
        made = chain.from_iterable(op.allocates for op in recording.ops)
        return sum(
            rounded(each.nbytes) for each in made if each.is_on_host and (among is None or each in among)
        )

    def _forward_rise(self, segment: Segment) -> int:
        return self._rise(segment.recording, segment.kept | segment.shared, holds=True)

    def _rise(self, recording: Recording, kept: frozenset[object], *, holds: bool = False) -> int:
        """The most that operations ask of the allocator at once, what they take inside included; 0 without a device."""
        if self.cuda is None:
            return 0
        return max(self._asked(recording, kept, holds=holds), default=0)

    def _asked(self, recording: Recording, kept: frozenset[object], *, holds: bool) -> Iterator[int]:
        """What a recording has asked for and not freed, after each request."""
        from ...tape.requests import FREE, FREE_ELSEWHERE, program_of

        assert self.cuda is not None  # noqa: S101 - asked for only with a device; for the type checker
        live, own = 0, {}
        for nbytes, key, _ in program_of(recording, self.cuda, kept, holds=holds).requests:  # type: ignore[arg-type]
            if nbytes >= 0:
                own[key] = rounded(nbytes)
                live += own[key]
                yield live
            elif nbytes == FREE:
                live -= own.pop(key)
            elif nbytes == FREE_ELSEWHERE:
                live -= rounded(key.nbytes)  # type: ignore[union-attr]  # only storages are elsewhere

    def workspaces(self, phase: str) -> int:
        """cuBLAS's, one for each thread that has run a product by then for certain."""
        if self.cuda is None:
            return 0
        is_first = not self.config.run.passes_before
        return self.cuda.workspace_bytes * (1 if is_first and phase == "backward" else 0 if is_first else 2)
