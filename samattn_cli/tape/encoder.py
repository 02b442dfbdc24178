"""The plan of an encoder run on the Tape, part by part; in torch: `samattn_cli/stack/encoder.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from ..encoder.model import EncoderConfig, RunConfig
from ..encoder.plan import LayerConfig, PartConfig
from ..encoder.registry import code_for
from ..units import ITEM_BYTES
from . import autograd
from .graph import Node
from .ops import Recording
from .storage import Dim, Storage
from .tape import Tape
from .tensor import Tensor

Source = tuple[str, int]
"""A segment and which of its outputs is meant."""


@dataclass(frozen=True)
class Segment:
    """A part of the encoder or a block: what it does, and where its inputs come from.

    Attributes:
        name: the module of the real stack whose names it has.
        recording: its forward.
        entries: its inputs: the stream, then what it taps.
        outputs: what it makes: the stream, then what others tap.
        sources: where the entries come from.
        layer: the block's config; None for a part.
        is_checkpointed: whether a training step keeps nothing but the entries.
        shared: those of its inputs that an earlier segment keeps for backward too.
    """

    name: str
    recording: Recording
    entries: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    sources: tuple[Source, ...]
    layer: LayerConfig | None = None
    is_checkpointed: bool = False
    shared: frozenset[Storage] = frozenset()

    @property
    def entry(self) -> Storage:
        """The storage of the stream that enters."""
        return self.entries[0].storage

    @cached_property
    def kept(self) -> frozenset[Storage]:
        """What autograd keeps of it for backward: what it saves, or only its inputs where it is checkpointed."""
        if self.is_checkpointed and any(op.is_kept for op in self.recording.ops):
            return frozenset(entry.storage for entry in self.entries)
        return self.recording.saved

    def qualified(self, name: str) -> str:
        """The name of a module or weight in the whole encoder."""
        return ".".join(part for part in (self.name, name) if part)


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass of an encoder: its segments in order, and the image that goes in."""

    config: EncoderConfig
    image: Tensor
    segments: tuple[Segment, ...]

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
        return sum([getattr(segment.recording, key) for segment in self.segments])


def forward(config: EncoderConfig, *, training: bool = False) -> ForwardPass:
    """Run the encoder of `config` on the Tape, with autograd on for `training`.

    Blocks of one kind are run once: their segments share one recording.
    """
    run = config.run
    # eager attention makes no more for it; autocast's copies of weights need a gradient only then
    differs = run.attention != "eager" or run.autocast != "none"
    return _forward(config, training and differs, training and run.trains != "all")


@lru_cache(maxsize=32)
def _forward(config: EncoderConfig, training: bool, frozen: bool) -> ForwardPass:
    tape = tape_for(config.run, ITEM_BYTES[config.run.dtype], training=training)
    image = tape.tensor(*config.input_shape)
    with tape.weights(train=not frozen):
        return ForwardPass(config, image, tuple(_Driver(tape, config).segments(image)))


def tape_for(run: RunConfig, item_bytes: Dim, *, training: bool) -> Tape:
    """A Tape as a run needs it; `item_bytes` are those of its type, as a number or a symbol."""
    low = None if run.autocast == "none" else ITEM_BYTES[run.product_dtype]
    half = run.product_dtype == "float16"
    return Tape(item_bytes, autocast_bytes=low, half_to_float=half, training=training)


class _Driver:
    """Runs the plan, and lets go of what no later part takes, as the real encoder's forward does."""

    def __init__(self, tape: Tape, config: EncoderConfig) -> None:
        self.tape = tape
        self.config = config
        self.uses = Counter(tap for part in config.plan for tap in part.taps)  # those still to come
        self.tapped: dict[str, list[tuple[Source, Tensor]]] = {}
        self.twins: dict[Hashable, Segment] = {}
        self.kept: set[Storage] = set()  # by any segment so far
        self.before: frozenset[Storage] = frozenset()  # by the one that made the stream

    def segments(self, image: Tensor) -> Iterator[Segment]:
        """The segments of one pass."""
        sources: list[tuple[Source, Tensor]] = [(("", 0), image)]
        for part in self.config.plan:
            stream = sources[0]
            taken = [stream, *(tap for name in part.taps for tap in self.tapped[name])]
            self.uses.subtract(part.taps)
            last = [tap for name in part.taps if not self.uses[name] for tap in self.tapped.pop(name)]
            gone = [
                tensor for _, tensor in (stream, *last) if tensor is not image and not self._is_tapped(tensor)
            ]
            segment = self._segment(part, taken, gone)
            self.kept |= segment.kept
            self.before = segment.kept
            sources = [((part.name, index), output) for index, output in enumerate(segment.outputs)]
            if self.uses[part.name]:
                self.tapped[part.name] = sources[1:] or sources
            yield segment

    def _is_tapped(self, tensor: Tensor) -> bool:
        """Whether a later part takes it."""
        held = (each for taps in self.tapped.values() for _, each in taps)
        return any(each.storage is tensor.storage for each in held)

    def _segment(
        self, part: PartConfig | LayerConfig, taken: list[tuple[Source, Tensor]], gone: list[Tensor]
    ) -> Segment:
        """Run a part; a block as one before it, where it is its twin. What is tapped has storages of its own."""
        x = taken[0][1]
        sources = tuple(source for source, _ in taken)
        if isinstance(part, PartConfig):
            return self._run(part, taken, gone)
        layout = (x.shape, x.stride, x.item_bytes)
        key = (part.kind, layout, x.grad_fn is None, x.storage in self.before, len(gone))
        alone = not gone or bool(self.uses[part.name])
        if alone or key not in self.twins:
            segment = self._run(part, taken, gone)
            if not alone:
                self.twins[key] = segment
            return segment
        twin = self.twins[key]
        shared = self._kept_taps(twin.entries) | (twin.shared & {twin.entry})
        return replace(twin, name=part.name, sources=sources, layer=part, shared=shared)

    def _run(
        self, part: PartConfig | LayerConfig, taken: list[tuple[Source, Tensor]], gone: list[Tensor]
    ) -> Segment:
        entries = tuple(_entering(tensor) for _, tensor in taken)
        made = call(self.tape, part, entries, self.config.run.attention)
        outputs = made if isinstance(made, tuple) else (made,)
        if not self.uses[part.name] and part is not self.config.plan[-1]:
            outputs, gone = outputs[:1], [*gone, *outputs[1:]]  # what no part takes goes
        staying = {output.storage for output in outputs}
        going = dict.fromkeys(tensor.storage for tensor in gone if tensor.storage not in staying)
        self.tape.free_storages(*going)
        layer = part if isinstance(part, LayerConfig) else None
        return Segment(
            name=part.name,
            recording=self.tape.recording(),
            entries=entries,
            outputs=outputs,
            sources=tuple(source for source, _ in taken),
            layer=layer,
            is_checkpointed=layer is not None and self.config.run.checkpointing,
            shared=self._kept_taps(entries) | ({entries[0].storage} & self.before),
        )

    def _kept_taps(self, entries: tuple[Tensor, ...]) -> frozenset[Storage]:
        """Those of the taps that are kept already: blocks that are twins share storages, what is tapped does not."""
        return frozenset(tap.storage for tap in entries[1:]) & self.kept


def call(
    tape: Tape, part: PartConfig | LayerConfig, entries: tuple[Tensor, ...], kernel: str
) -> Tensor | tuple[Tensor, ...]:
    """Run a part or a block on what enters it: what leaves, the stream first."""
    code: Callable[..., Tensor | tuple[Tensor, ...]]
    if isinstance(part, LayerConfig):
        code = code_for("tape", "blocks", part.stage.block)
        return code(tape, *entries, part, kernel)
    if not part.slot:
        return tape.layer_norm("", *entries)
    code = code_for("tape", part.slot, part.word)
    return code(tape, entries[0], part, *entries[1:])


def _entering(x: Tensor) -> Tensor:
    """`x` as the input of a segment, at which its backward ends; one that needs no gradient has none."""
    return x.made_by(x.grad_fn and (Node(None), 0))


def backward(forward_pass: ForwardPass) -> tuple[Recording, ...]:
    """Run the backward of a forward pass on the Tape: a recording for each segment, in the order of the forward.

    It begins with contiguous gradients of the outputs, as a decoder would hand them over; the caller keeps those, the
    outputs and the image. Segments that share a forward recording share that of their backward.
    """
    driver = _BackwardDriver(forward_pass)
    recordings = [driver.run(segment) for segment in reversed(forward_pass.segments)]
    return tuple(reversed(recordings))


class _BackwardDriver:
    """Runs segments from the last to the first, and brings each gradient to the segment that made its tensor."""

    def __init__(self, forward_pass: ForwardPass) -> None:
        self.tape = Tape(forward_pass.image.item_bytes)
        self.image = forward_pass.image
        self.last = forward_pass.segments[-1]
        self.due = {
            (self.last.name, index): self.tape.tensor_like(output)
            for index, output in enumerate(self.last.outputs)
        }
        self.given = {gradient.storage for gradient in self.due.values()}
        self.taken: set[Storage] = set()  # what gradients of weights are views of
        self.passed: dict[Hashable, tuple[Recording, tuple[Tensor | None, ...]]] = {}

    def run(self, segment: Segment) -> Recording:
        """The backward of one segment."""
        outputs = [(segment.name, index) for index in range(len(segment.outputs))]
        gradients = tuple(self.due.pop(output, None) for output in outputs)
        pending = tuple(self.due.pop(source, None) for source in segment.sources)
        recording, made = self._twin(segment, gradients, pending)
        self.due |= {s: g for s, g in zip(segment.sources, made, strict=True) if g is not None}
        return recording

    def _twin(
        self,
        segment: Segment,
        gradients: tuple[Tensor | None, ...],
        pending: tuple[Tensor | None, ...],
    ) -> tuple[Recording, tuple[Tensor | None, ...]]:
        (gradient, *others), elsewhere = gradients, [each.storage for each in self.due.values()]
        held = [self.image.storage, *self.given, *self.taken, *elsewhere, *segment.shared]
        if segment is self.last:
            held += {output.storage for output in segment.outputs}
        plain = gradient is not None and not others and not any(pending) and gradient.storage not in elsewhere
        key: Hashable = object()
        if plain and gradient is not None:
            given = gradient.storage in self.given, gradient.storage in self.taken
            key = (segment.recording, gradient.stride, gradient.is_view, given, segment.shared)
        if key not in self.passed:
            made = autograd.backward(
                self.tape,
                list(zip(segment.outputs, gradients, strict=True)),
                list(zip(segment.entries, pending, strict=True)),
                held,
                checkpoint=tuple(e.storage for e in segment.entries) if segment.is_checkpointed else (),
                taken=self.taken,
            )
            self.passed[key] = self.tape.recording(), made
        return self.passed[key]
