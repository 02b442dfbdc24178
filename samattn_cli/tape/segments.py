"""The parts and blocks of an encoder that has run on the Tape, and the pass that they make."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import accumulate, chain, repeat
from typing import TypeVar

from ..encoder.model import EncoderConfig
from ..encoder.plan import LayerConfig, block_name
from ..records import dataclass
from .ops import Buffer, Recording
from .storage import Dim, Storage
from .tensor import Tensor

Read = TypeVar("Read")
Source = tuple[str, int]
"""The name of a segment, and the index of one of its outputs."""


@dataclass(frozen=True)
class Segment:
    """A part of the encoder or a block: its operations, and where its inputs come from.

    The main output of one part is the main input of the next. A part may also tap outputs of earlier parts.

    Attributes:
        name: the name of the module in the real stack.
        recording: its forward.
        entries: its inputs: the main one, then those that it taps.
        outputs: its outputs: the main one, then those that later parts tap.
        sources: where the entries come from.
        layer: the block's config; None for a part.
        is_checkpointed: whether its backward runs its forward again, from its entries.
        stage: the number of the checkpoint of several segments that it is in; None if it is in none.
        begins_stage: whether a training step keeps its entries, from which that checkpoint begins.
        held: the outputs of earlier parts, besides its inputs, that live until it has run, and where they come from.
        is_unread: whether nothing reads its outputs: its backward does not run, and its graph lives as long as they do.
        drops: what such graphs keep and its own operations free, with the outputs that lead to them; and whose it is.
        shared: those of its inputs, and of what it holds, that an earlier segment keeps for backward too.
    """

    name: str
    recording: Recording
    entries: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    sources: tuple[Source, ...]
    layer: LayerConfig | None = None
    is_checkpointed: bool = False
    stage: int | None = None
    begins_stage: bool = False
    held: tuple[tuple[Source, Storage], ...] = ()
    is_unread: bool = False
    drops: tuple[tuple[str, Storage], ...] = ()
    shared: frozenset[Storage] = frozenset()

    def twin(
        self, name: str, sources: tuple[Source, ...], layer: LayerConfig | None, shared: frozenset[Storage]
    ) -> Segment:
        """The segment of a block of the same kind, or of the same part; it shares what was worked out for this one, which is the same for both."""
        made = Segment.__new__(Segment)
        vars(made).update(vars(self), name=name, sources=sources, layer=layer, shared=shared)
        return made

    @property
    def inputs(self) -> tuple[Storage, ...]:
        """The storages of its inputs, without buffers that a part has given to others, which are never freed."""
        return tuple(entry.storage for entry in self.entries if not entry.storage.is_weight)

    @property
    def entry(self) -> Storage:
        """The storage of the main input."""
        return self.entries[0].storage

    @cached_property
    def kept(self) -> frozenset[Storage]:
        """The storages that autograd keeps for its backward: those it saves, or its inputs if a checkpoint begins with it."""
        if self.stage is not None:
            return frozenset(self.inputs if self.begins_stage else ())
        if self.is_checkpointed and any(op.is_kept for op in self.recording.ops):
            return frozenset(self.inputs)
        return self.recording.saved

    @property
    def kept_for_backward(self) -> frozenset[Storage]:
        """Those of `kept` that are still there when the forward has ended: none if nothing reads its outputs."""
        return frozenset() if self.is_unread else self.kept

    @cached_property
    def freed_by_caller(self) -> frozenset[Storage]:
        """Those of its inputs, and of what it holds, that live until its module has returned: its last operation frees them."""
        ops = self.recording.ops
        if not ops or ops[-1].allocates:
            return frozenset()
        return frozenset(ops[-1].frees).difference(*(op.allocates for op in ops))

    @property
    def is_run_again(self) -> bool:
        """Whether a backward runs its forward again, alone or with the whole stage."""
        return self.is_checkpointed or self.stage is not None

    @property
    def begins_checkpoint(self) -> bool:
        """Whether a checkpoint keeps its entries: its own, or that of the stage that begins with it."""
        return self.begins_stage or (self.is_checkpointed and self.stage is None)

    @property
    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """The buffers with which it is made; each has the name of its module, and its number."""
        for number, buffer in enumerate(self.recording.buffers):
            if buffer.cached is None:
                yield self.qualified(".".join(filter(None, (buffer.module, f"{number}")))), buffer

    def qualified(self, name: str) -> str:
        """The name of a module or weight in the whole encoder."""
        return ".".join(part for part in (self.name, name) if part)


@dataclass(frozen=True)
class Twins:
    """A segment, and its twins of the blocks after it: one after another, the output of one enters the next.

    Attributes:
        first: the segment.
        number: how many they are.
    """

    first: Segment
    number: int = 1

    @property
    def blocks(self) -> range:
        """The numbers of the blocks; none for a part."""
        begin = self.first.layer.index if self.first.layer else 0
        return range(begin, begin + self.number if self.first.layer else 0)

    @property
    def names(self) -> Iterator[str]:
        """Their names."""
        return chain((self.first.name,), map(block_name, self.blocks[1:]))

    def name(self, number: int) -> str:
        """The name of one of them."""
        layer = self.first.layer
        return block_name(layer.index + number) if number and layer else self.first.name

    def source(self, number: int) -> Source:
        """Where the main input of one of them comes from."""
        return (self.name(number - 1), 0) if number else self.first.sources[0]

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """They."""
        return tuple(map(self.at, range(self.number)))

    @cached_property
    def last(self) -> Segment:
        """The last of them."""
        return self._made(self.number - 1)

    def at(self, number: int) -> Segment:
        """One of them."""
        return self.last if number == self.number - 1 else self._made(number)

    def _made(self, number: int) -> Segment:
        first, layer = self.first, self.first.layer
        if not number or layer is None:
            return first
        own = layer.numbered(layer.index + number)
        return first.twin(own.name, (self.source(number),), own, first.shared)


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass of an encoder: its segments in order, and its image.

    What is the same for twins is worked out once, with `spread` for each segment: an encoder may have hundreds.
    """

    config: EncoderConfig
    image: Tensor
    twins: tuple[Twins, ...]

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """All segments in order."""
        return tuple(chain.from_iterable(twins.segments for twins in self.twins))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple([name for twins in self.twins for name in twins.names])

    @property
    def blocks(self) -> Iterator[int | None]:
        """For each segment the number of its block; None for a part."""
        return chain.from_iterable(twins.blocks or (None,) for twins in self.twins)

    def segment(self, number: int) -> Segment:
        """One of the segments."""
        twins = bisect_right(self._begin, number) - 1
        return self.twins[twins].at(number - self._begin[twins])

    @property
    def parts(self) -> Iterator[tuple[int, Segment]]:
        """The segments that are not blocks, and their numbers."""
        numbered = zip(self._begin, self.twins, strict=True)
        return ((number, twins.first) for number, twins in numbered if twins.first.layer is None)

    @property
    def last(self) -> Segment:
        """The last segment."""
        return self.twins[-1].last

    @cached_property
    def _begin(self) -> tuple[int, ...]:
        """The number of the first of each twins."""
        return tuple(accumulate(self._numbers, initial=0))[:-1]

    @cached_property
    def _numbers(self) -> tuple[int, ...]:
        return tuple([twins.number for twins in self.twins])

    def spread(self, read: Callable[[Segment], Read]) -> Iterator[Read]:
        """For each segment what is read of the first of its twins, which is to be the same for all of them."""
        return self.spread_all([read(twins.first) for twins in self.twins])

    def spread_all(self, of_twins: Iterable[Read]) -> Iterator[Read]:
        """For each segment what there is of its twins."""
        return chain.from_iterable(map(repeat, of_twins, self._numbers))

    @cached_property
    def recordings(self) -> Counter[Recording]:
        """The recordings of its segments, and how many segments share each."""
        found = Counter[Recording]()
        for twins in self.twins:
            found[twins.first.recording] += twins.number
        return found

    @cached_property
    def of_blocks(self) -> Counter[Recording]:
        """Those of its blocks."""
        found = Counter[Recording]()
        for twins in self.twins:
            if twins.first.layer is not None:
                found[twins.first.recording] += twins.number
        return found

    @cached_property
    def params(self) -> Dim:
        """Numbers in the weights."""
        return self.total("params")

    @cached_property
    def macs(self) -> Dim:
        """MACs of matrix products and convolutions."""
        return self.total("macs")

    @cached_property
    def flops(self) -> Dim:
        """FLOPs of matrix products and convolutions."""
        return self.total("flops")

    @cached_property
    def elementwise_flops(self) -> Dim:
        """FLOPs of everything else."""
        return self.total("elementwise_flops")

    def total(self, key: str) -> Dim:
        """The sum of a number of the recordings, such as "bytes_read", over all parts and blocks."""
        return sum([many * getattr(recording, key) for recording, many in self.recordings.items()])
