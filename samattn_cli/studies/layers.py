"""What each layer and part of an encoder costs, from its passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from itertools import repeat
from math import prod
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ..encoder.plan import LayerConfig
from ..errors import UsageError, did_you_mean
from ..figures import Figure, of
from ..records import dataclass, replace
from ..reports.analysis import LayerReport, OpReport, PartReport, Share, VsGlobal
from ..tape.counted import CountedSegment
from ..tape.memory import saved_by_op
from ..tape.ops import SCORES, Op, Recording
from ..tape.segments import Segment
from ..tape.shares import share_of
from ..tape.training import PHASES
from ..units import rounded
from .attention_kernels import kernels_in
from .on_device import on
from .passes import Passes
from .readers import attention_bytes, of_segment

if TYPE_CHECKING:  # not at start-up: needed only for times
    from ..device.roofline import LayerTime


@dataclass(frozen=True)
class At:
    """One segment of an encoder's passes, by its number."""

    passes: Passes
    number: int

    @cached_property
    def segment(self) -> Segment:
        """In the inference forward."""
        return self.passes.forward.segment(self.number)

    @cached_property
    def counted(self) -> Segment | CountedSegment:
        """The same, for sums over its operations."""
        return self.passes.counted.segment(self.number)

    @property
    def layer(self) -> LayerConfig:
        """The block's config."""
        assert self.block is not None  # noqa: S101 - for the type checker: only blocks are asked
        return self.block

    @property
    def block(self) -> LayerConfig | None:
        """The same; None for a part."""
        return self.counted.layer

    @property
    def name(self) -> str:
        """The name of its module in the real stack."""
        return self.counted.name

    @property
    def time(self) -> LayerTime | None:
        """The time in the run's mode; None without a device."""
        return self.passes.times[self.number] if self.passes.times else None


def parts_of(passes: Passes) -> tuple[PartReport, ...]:
    """The parts next to the blocks."""
    ats = [At(passes, number) for number, _ in passes.forward.parts]
    return tuple(PartReport(**_figures(PART, at)) for at in ats)


def layers_of(passes: Passes) -> tuple[LayerReport, ...]:
    """The blocks, each compared with the same block made global."""
    return tuple(_layers_of(passes))


def _layers_of(passes: Passes) -> Iterator[LayerReport]:
    """Layers with the same recordings in the same memory share all figures but those of a training step."""
    found: dict[Hashable, LayerReport] = {}
    forward = passes.forward
    own = zip(forward.names, forward.blocks, _alike(passes), passes.step.most, strict=True)
    for number, (name, block, alike, (nbytes, op)) in enumerate(own):
        if block is not None:
            report = found.get(alike)
            if report is None:
                report = found[alike] = LayerReport(**_figures(LAYER, At(passes, number)))
            yield _another(report, name=name, index=block, training_bytes=nbytes, training_op=op)


def _another(report: LayerReport, **own: Any) -> LayerReport:
    """The report of a layer that differs in its `own` values alone: quick to make, as encoders may have hundreds of layers."""
    made = LayerReport.__new__(LayerReport)
    object.__setattr__(made, "__dict__", vars(report) | own)
    return made


def _alike(passes: Passes) -> Iterator[Hashable]:
    """What the figures of each layer are read from that layers may share.

    Recordings, and what is kept with them, are compared by identity; so is memory, as walks share what is equal.
    """
    step, target, forward = passes.step, on(passes, passes.device), passes.forward
    own = zip(
        forward.spread(lambda segment: (segment.recording, segment.layer and segment.layer.stage_index)),
        passes.all_global.forward.spread(_recording),
        map(id, passes.memory),
        step.saved_bytes,
        step.forward.spread(lambda segment: (segment.recording, segment.is_run_again)),
        target.recordings,
        map(id, passes.times) if passes.times else repeat(None, len(forward.names)),
        strict=True,
    )
    if not passes.trains:
        return own
    sections = [[(name, phase) for phase in PHASES] for name in forward.names]
    live = (
        (step.before[section], id(step.moments[section].liveness)) for each in sections for section in each
    )
    return zip(own, *[live] * len(PHASES), strict=True)


def segments_of(passes: Passes) -> dict[str, At]:
    """Each segment by its name."""
    return {name: At(passes, number) for number, name in enumerate(passes.counted.names)}


def _figures(table: Mapping[str, Callable[[At], Any]], at: At) -> dict[str, Any]:
    return {name: figure(at) for name, figure in table.items()}


def _ops(at: At) -> tuple[OpReport, ...]:
    """The operations of the forward and, in training, of the backward, with the bytes live before each."""
    training = at.passes.step.forward.segment(at.number)
    kernels = tuple(kernels_in(at.passes, at.number, at.passes.device).items())
    return (
        *_forward(
            at.segment.recording,
            None if training.is_run_again else training.recording,
            kernels,
            tuple((op.name, nbytes) for op, nbytes in at.passes.live_forward(at.number)),
        ),
        *_backward(at.passes.live_backward(at.number)),
    )


@lru_cache(maxsize=64)
def _forward(
    recording: Recording,
    training: Recording | None,
    kernels: tuple[tuple[str, str], ...],
    live: tuple[tuple[str, int], ...],
) -> tuple[OpReport, ...]:
    """The operations of a forward, with the bytes live before each: of equal layers the same objects."""
    before: dict[str, list[int]] = {}
    for name, nbytes in live:
        before.setdefault(name, []).append(nbytes)
    lives = {name: iter(each) for name, each in before.items()}
    return tuple(
        replace(op, phase="forward", live_bytes=next(lives.get(op.name, iter(())), None))
        for op in _op_reports(recording, training, kernels)
    )


def _backward(live: Sequence[tuple[Op, int]]) -> Iterator[OpReport]:
    """The operations of a backward; of a checkpointed segment, its second forward among them."""
    for op, nbytes in live:
        if op.is_kernel:
            figures = dict(zip(OF_OPS, read_op(op), strict=True))
            yield OpReport(
                name=op.name,
                kind=op.kind,
                saved_bytes=0,
                phase="backward",
                allocates_bytes=_allocates(op),
                live_bytes=nbytes,
                **figures,
            )


def _allocates(op: Op) -> int:
    return int(sum(rounded(storage.nbytes) for storage in op.allocates))


def _vs_global(at: At) -> VsGlobal:
    if not at.segment.recording.scores:  # a layer of convolutions
        return VsGlobal(1.0, 1.0, 1.0, 0.0)
    as_global = At(at.passes.all_global, at.number)
    saving = 1 - _attention_bytes(at) / _attention_bytes(as_global)
    return VsGlobal(*_flops_ratios(at.segment.recording, as_global.segment.recording), saving)


def _attention_bytes(at: At) -> int:
    return int(attention_bytes(at.passes.config, at.counted.recording))


def _summed(figure: Figure, at: At) -> Any:
    return of_segment(figure, at.passes, at.number)


_recording = attrgetter("recording")

PART: dict[str, Callable[[At], Any]] = {
    figure.name: partial(_summed, figure) for figure in of("part") if figure.op_keys
} | {
    "name": attrgetter("name"),
    "saved_bytes": lambda at: at.passes.step.saved_bytes[at.number],
    "peak_bytes": lambda at: at.passes.memory[at.number].peak_bytes,
    "peak_op": lambda at: at.passes.memory[at.number].peak_op,
    "training_bytes": lambda at: at.passes.step.most[at.number][0],
    "training_op": lambda at: at.passes.step.most[at.number][1],
    "ops": _ops,
    "latency_ms": lambda at: at.time and at.time.ms,
    "bound": lambda at: at.time and at.time.bound,
    "share_of_peak": lambda at: at.time and at.time.share_of_peak,
}
"""A reader for each key of a `PartReport`."""

LAYER: dict[str, Callable[[At], Any]] = PART | {
    "index": lambda at: at.layer.index,
    "stage": lambda at: at.layer.stage_index,
    "attention": lambda at: at.layer.placement.kind,
    "placement": lambda at: at.layer.attends,
    "window_size": lambda at: at.layer.window_size,
    "shift_size": lambda at: at.layer.shift_size,
    "grid": lambda at: at.layer.grid,
    "padded_grid": lambda at: at.layer.padded_grid,
    "windows": lambda at: prod(at.layer.windows.counts),
    "num_heads": lambda at: at.layer.stage.num_heads,
    "attention_bytes": _attention_bytes,
    "attention_bytes_per_head": lambda at: _attention_bytes(at) // at.layer.stage.num_heads,
    "vs_global": _vs_global,
}
"""A reader for each key of a `LayerReport`."""


@lru_cache(maxsize=64)
def _flops_ratios(layer: Recording, as_global: Recording) -> tuple[float, float, float]:
    """FLOPs with the layer made global over FLOPs as it is, for score products, attention and the whole layer."""

    def ratio(part: Callable[[Op], bool]) -> float:
        return _flops(filter(part, as_global.ops)) / _flops(filter(part, layer.ops))

    return (
        ratio(lambda op: share_of(op) == SCORES),
        ratio(lambda op: op.module.partition(".")[0] == "attn"),
        as_global.flops / layer.flops,
    )


OF_OPS = tuple(figure.name for figure in of("op") if figure.op_keys)
read_op = attrgetter(*OF_OPS)
"""Read the figures of an operation, which are its own numbers."""


@lru_cache(maxsize=64)
def _op_reports(
    recording: Recording, training: Recording | None, kernels: tuple[tuple[str, str], ...]
) -> tuple[OpReport, ...]:
    """The operations of a forward, with the bytes that a training step keeps of each (None: checkpointed, keeps none)."""
    kept, of_attention = Counter[str](), dict(kernels)
    if (
        training is not None
    ):  # training may run more operations, such as a copy of a frozen weight for each use
        for op, nbytes in zip(training.ops, saved_by_op(training), strict=True):
            kept[op.name] += nbytes
    return tuple(
        OpReport(
            name=op.name,
            kind=op.kind,
            saved_bytes=kept.pop(op.name, 0),
            attention_kernel=of_attention.get(op.name, ""),
            allocates_bytes=_allocates(op),
            **dict(zip(OF_OPS, read_op(op), strict=True)),
        )
        for op in recording.ops
        if op.is_kernel
    )


def no_such_place(
    where: str, name: str, places: Sequence[str], inside: Mapping[str, Iterable[str]] | None = None
) -> UsageError:
    """The error for a layer or part that an encoder does not have.

    Args:
        where: how messages name the input.
        name: the full name that the input means.
        places: the layers and parts of the encoder.
        inside: the operations and modules in each of them, if the input may name one.
    """
    blocks = [place for place in places if place.startswith("blocks.")]
    parts = ", ".join(place for place in places if place not in blocks)
    hint = _inside(name, inside or {})
    if not hint and not name.startswith("blocks."):
        hint = did_you_mean(name, places)
    return UsageError(
        "unknown-layer",
        f"{where}: no such layer or part; the encoder has {blocks[0]} to {blocks[-1]}, and {parts}{hint}",
    )


def _inside(name: str, inside: Mapping[str, Iterable[str]]) -> str:
    """A hint at the first layer or part with an operation of that name, or that ends in it ("qkv": 0.attn.qkv)."""
    for place, names in inside.items():
        for inner in sorted(names, key=len):
            if inner == name or inner.endswith(f".{name}"):
                return f"; did you mean '{place.removeprefix('blocks.')}.{inner}'?"
    return ""


def shares_of(passes: Passes) -> tuple[Share, ...]:
    """FLOPs by part, from the largest to the smallest; they sum to the total."""
    flops: dict[str, int] = {}
    of_blocks: dict[Recording, dict[str, int]] = {}
    for twins in passes.forward.twins:
        recording = twins.first.recording
        if twins.first.layer is None:
            own = {twins.first.name: recording.flops} if recording.flops else {}
        elif recording in of_blocks:
            own = of_blocks[recording]
        else:
            own = of_blocks[recording] = _shares_of_block(recording)
        for part, value in own.items():
            flops[part] = flops.get(part, 0) + twins.number * value
    total = sum(flops.values())
    ordered = sorted(flops.items(), key=lambda item: -item[1])
    return tuple(Share(part, value, value / total) for part, value in ordered)


def _shares_of_block(recording: Recording) -> dict[str, int]:
    """The FLOPs of a block by what they are for, in the order of its operations."""
    flops: dict[str, int] = {}
    for op in recording.ops:
        if op.macs:
            part = share_of(op)
            flops[part] = flops.get(part, 0) + op.flops
    return flops


def _flops(ops: Iterable[Op]) -> int:
    return sum(op.flops for op in ops)
