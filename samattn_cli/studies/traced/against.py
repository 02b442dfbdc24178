"""Somebody else's module against a config of samattn: the first layer and operation that differ, in each respect.

Layers are paired in order, and so is what runs before, between and after them. In each the windows are compared, then the FLOPs
of the products in order, then the bytes of the allocations in order. Tables of indices are left out: many modules make them on
the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from math import prod

from ...encoder.model import EncoderConfig
from ...encoder.plan import LayerConfig
from ...reports.traced import Against, AgainstDifference
from ...tape.ops import SCORES, Op
from ...tape.segments import Segment
from ...units import format_bytes, format_count, format_things
from ..passes import Passes
from ..torch_version import with_torch
from .passes import TracedPasses
from .windows import VALUES, Product

INDEX = "index"
"""In the Tape's names, what makes a table of indices."""

Number = tuple[str, int]
"""The name of an operation, and a number of it."""


@dataclass(frozen=True)
class _Stretch:
    """A layer, or all parts between two layers: its name and its operations."""

    name: str
    is_layer: bool
    ops: tuple[Op, ...]

    @property
    def products(self) -> list[Number]:
        """FLOPs of each product, and those of QK^T and AV as one, last: kernels run them in one operation or in two."""
        attention = [op for op in self.ops if _is_attention(op)]
        others = [(self._named(op), op.flops) for op in self.ops if op.macs and not _is_attention(op)]
        if not attention:
            return others
        return [*others, (self._named(attention[0]), sum(op.flops for op in attention))]

    @property
    def allocations(self) -> list[Number]:
        """Bytes of each allocation, as asked for."""
        return [(self._named(op), storage.nbytes) for op in self.ops for storage in op.allocates]

    def _named(self, op: Op) -> str:
        return f"{self.name}.{op.name}" if self.is_layer else op.name


def _is_attention(op: Op) -> bool:
    """Whether it is QK^T, AV or both."""
    return op.kind == "sdpa" or op.name.partition(" ")[0].rpartition(".")[2] in {SCORES, VALUES}


def against(passes: TracedPasses, config: EncoderConfig) -> Against:
    """The first differences of a traced module from a config."""
    derived = Passes(with_torch(config, passes.trace.torch))
    ours, theirs = list(_of_config(derived)), list(_of_module(passes))
    differences = [
        difference
        for difference in (
            _parameters(passes, derived),
            _layers(ours, theirs) or _windows(passes, config),
            _first("FLOPs", ours, theirs),
            _first("memory", ours, theirs),
        )
        if difference
    ]
    layers = sum(stretch.is_layer for stretch in ours)
    return Against(config.name, layers, not differences, tuple(differences))


def _parameters(passes: TracedPasses, derived: Passes) -> AgainstDifference | None:
    ours, theirs = int(derived.forward.params), sum(prod(weight.shape) for weight in passes.trace.weights)
    if ours == theirs:
        return None
    text = f"{ours:,} parameters in the config, and {theirs:,} here"
    return AgainstDifference("parameters", "", text, ours, theirs)


def _layers(ours: Sequence[_Stretch], theirs: Sequence[_Stretch]) -> AgainstDifference | None:
    one, other = (sum(stretch.is_layer for stretch in each) for each in (ours, theirs))
    if one == other:
        return None
    text = f"{format_things(one, 'layer')} in the config, and {format_things(other, 'layer')} here"
    return AgainstDifference("layers", "", text, one, other)


def _windows(passes: TracedPasses, config: EncoderConfig) -> AgainstDifference | None:
    """The first layer that attends elsewhere."""
    by_layer: dict[str, Product] = {}
    for product in passes.products:
        by_layer.setdefault(passes.places.of(passes.trace.forward[product.op]), product)
    for name, layer in zip(
        (name for name in passes.recordings if name in passes.places.layers), config.layers, strict=False
    ):
        its = by_layer.get(name)
        windows, tokens = (0, 0) if its is None else (its.report.windows, its.report.keys)
        if (windows, tokens) != (prod(layer.windows.counts), _tokens(layer)):
            text = f"{name} attends {_in_config(layer)} in the config and {_here(its)} here"
            return AgainstDifference("windows", name, text, prod(layer.windows.counts), windows)
    return None


def _tokens(layer: LayerConfig) -> int:
    """Tokens of one window whose keys are attended to, also those that are not on the grid if they are in windows or it is one."""
    windows = prod(layer.windows.counts)
    are_in_windows = windows == 1 or layer.cut == layer.windows.counts
    return (prod(layer.padded_grid) + (layer.extra_tokens if are_in_windows else 0)) // windows


def _in_config(layer: LayerConfig) -> str:
    windows = prod(layer.windows.counts)
    return _attends(windows, _tokens(layer))


def _here(product: Product | None) -> str:
    if product is None:
        return "nowhere"
    return _attends(product.report.windows, product.report.keys)


def _attends(windows: int, tokens: int) -> str:
    """Where a layer attends, in words."""
    return (
        f"globally, over {tokens:,} tokens"
        if windows == 1
        else f"in {windows:,} windows of {tokens:,} tokens"
    )


def _first(what: str, ours: Sequence[_Stretch], theirs: Sequence[_Stretch]) -> AgainstDifference | None:
    """The first operation with another number of FLOPs, or that allocates another number of bytes."""
    for one, other in zip(ours, theirs, strict=False):
        pairs = (one.products, other.products) if what == "FLOPs" else (one.allocations, other.allocations)
        for derived, found in zip_longest(*pairs):
            if (derived and derived[1]) != (found and found[1]):
                return _difference(what, one.name, derived, found)
    return None


def _difference(what: str, place: str, derived: Number | None, found: Number | None) -> AgainstDifference:
    name = (found or derived or ("", 0))[0]
    text = f"{name}: {_amount(what, derived)} in the config, and {_amount(what, found)} here"
    return AgainstDifference(what, place, text, derived and derived[1], found and found[1])


def _amount(what: str, number: Number | None) -> str:
    if number is None:
        return "no such operation"
    name, value = number
    amount = format_count(value, "FLOP") if what == "FLOPs" else f"{format_bytes(value)} allocated"
    return f"{amount} ({value:,}, {name})"


def _of_config(derived: Passes) -> Iterator[_Stretch]:
    for is_layer, segments in groupby(derived.forward.segments, key=_key):
        yield _stretch(
            [(segment.name, _numbers(segment.recording.ops)) for segment in segments], bool(is_layer)
        )


def _numbers(ops: Iterable[Op]) -> tuple[Op, ...]:
    return tuple(op for op in ops if INDEX not in op.name.split("."))


def _key(segment: Segment) -> str:
    return segment.name if segment.layer is not None else ""


def _of_module(passes: TracedPasses) -> Iterator[_Stretch]:
    layers = passes.places.layers
    for is_layer, runs in groupby(passes.forward, key=lambda run: run.place if run.place in layers else ""):
        yield _stretch([(run.place, _without(run.recording.ops, passes)) for run in runs], bool(is_layer))


def _without(ops: Iterable[Op], passes: TracedPasses) -> tuple[Op, ...]:
    """The operations, without those that make tables of indices."""
    return tuple(op for op in ops if passes.indices.isdisjoint(op.allocates))


def _stretch(named: Iterable[tuple[str, tuple[Op, ...]]], is_layer: bool) -> _Stretch:
    parts = list(named)
    return _Stretch(parts[0][0], is_layer, tuple(op for _, ops in parts for op in ops))
