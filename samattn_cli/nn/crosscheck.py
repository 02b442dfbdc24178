"""The Tape's claims against the real stack: parameters, fvcore, FlopCounterMode, traced memory. Integers, equal or not.

By default one block of each kind is run and its numbers stand for its twins: the repeated blocks of the real stack
become identities, which changes nothing for the others, since a block keeps the shape and the strides of its stream.
Twins are told from the real modules, not from the config.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from ..config.model import EncoderConfig
from ..report import Check, Claims, Counts, CrossCheck, Difference
from .count import count_with_flop_counter, count_with_fvcore
from .dynamo import without_dynamo
from .encoder import build, image_for
from .trace import rounded, trace_peaks, trace_saved

Value = TypeVar("Value")
CONTAINER = "blocks"
PLAIN = (bool, int, float, str, tuple)


def crosscheck(config: EncoderConfig, claims: Claims, *, every_layer: bool = False) -> CrossCheck:
    """Compare `claims` with what is counted and traced on the real stack of `config`.

    Where the meta device cannot be used (a torch release may break it), real tensors are counted instead and the
    verdict's `route` says so; where neither works the verdict is "failed", with the reason.

    Args:
        config: the encoder.
        claims: what the Tape says of it.
        every_layer: run each block, not one of each kind.
    """
    with without_dynamo():
        return _crosscheck(config, claims, every_layer=every_layer)


def _crosscheck(config: EncoderConfig, claims: Claims, *, every_layer: bool) -> CrossCheck:
    stack = _Stack(config, "meta", every_layer)
    real = partial(_Stack, config, "cpu", every_layer)  # built only if it is needed
    need = max(claims.peak_bytes.values())
    return CrossCheck(
        parameters=_compare_parameters(claims.parameters, stack.parameters),
        fvcore=_attempt(partial(_compare_counts, claims.fvcore, count_with_fvcore), stack, real, need),
        flop_counter=_attempt(
            partial(_compare_counts, claims.flop_counter, count_with_flop_counter), stack, real, need
        ),
        memory_trace=_attempt(partial(_compare_memory, claims), stack, None, need),
        layers_run=len(config.layers) - len(stack.twins),
    )


class _Stack:
    """The real encoder on a device, folded unless every layer is asked for, and an image for it."""

    def __init__(self, config: EncoderConfig, device: str, every_layer: bool) -> None:
        self.model: nn.Module = build(config, device)
        self.image = image_for(config, device)
        self.parameters = {name: tuple(weight.shape) for name, weight in self.model.named_parameters()}
        self.weights_bytes = sum(rounded(weight.nbytes) for weight in self.model.parameters())
        self.twins = {} if every_layer else fold(self.model)


def _attempt(
    compare: Callable[[_Stack], Check], stack: _Stack, real: Callable[[], _Stack] | None, need: int
) -> Check:
    """A verdict on meta tensors, else on real ones where `need` bytes are to be had, else "failed" with the reason."""
    try:
        return replace(compare(stack), route="meta")
    except Exception as error:  # noqa: BLE001 - whatever a torch release may raise: it is said, never passed over
        reason = f"on meta: {_first_line(error)}"
    if real is None:
        return Check("failed", reason=reason)
    if need > _physical_memory() // 2:
        return Check(
            "failed", reason=f"{reason}; real tensors would take {need:,} bytes, over half of the memory"
        )
    try:
        return replace(compare(real()), route="real")
    except Exception as error:  # noqa: BLE001 - a check that could not run is a verdict of its own
        return Check("failed", reason=f"{reason}; on real tensors: {_first_line(error)}")


def fold(model: nn.Module) -> dict[str, str]:
    """Replace each block that repeats an earlier one by an identity; return the names of twins to their originals."""
    originals: dict[Any, str] = {}
    twins: dict[str, str] = {}
    blocks = model.get_submodule(CONTAINER)
    for index, block in list(blocks.named_children()):
        name = f"{CONTAINER}.{index}"
        original = originals.setdefault(_signature(block), name)
        if original != name:
            twins[name] = original
            setattr(blocks, index, nn.Identity())
    return twins


def _signature(block: nn.Module) -> Any:
    """All that decides a block's cost: its modules, their plain attributes and the shapes of their weights."""
    return tuple(
        (
            name,
            type(module),
            tuple(
                (key, value)
                for key, value in vars(module).items()
                if isinstance(value, PLAIN) and key != "training"
            ),
            tuple((key, tuple(weight.shape)) for key, weight in module.named_parameters(recurse=False)),
        )
        for name, module in block.named_modules()
    )


def _compare_parameters(
    claimed: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> Check:
    differences = tuple(
        Difference(name, "shape", _text(claimed.get(name)), _text(found.get(name)))
        for name in _union(claimed, found)
        if claimed.get(name) != found.get(name)
    )
    return _verdict(differences, len(found), sum(map(math.prod, found.values())))


def _compare_counts(claimed: Counts, count: Callable[[nn.Module, Tensor], Counts], stack: _Stack) -> Check:
    found = _unfold_counts(count(stack.model, stack.image), stack.twins)
    wanted = {module: kinds for module, kinds in claimed.items() if module != CONTAINER}
    return _compare_tables(wanted, found, sum(found.get("", {}).values()))


def _compare_memory(claims: Claims, stack: _Stack) -> Check:
    peaks = trace_peaks(stack.model, stack.image, stack.weights_bytes)
    traced = {"peak_bytes": peaks, "saved_bytes": trace_saved(stack.model, stack.image)}
    found = {what: _unfold(values, stack.twins) for what, values in traced.items()}
    wanted = {"peak_bytes": claims.peak_bytes, "saved_bytes": claims.saved_bytes}
    by_part = {part: {what: found[what][part] for what in found} for part in found["peak_bytes"]}
    wanted_by_part = {part: {what: wanted[what][part] for what in wanted} for part in claims.peak_bytes}
    return _compare_tables(wanted_by_part, by_part, max(found["peak_bytes"].values()))


def _compare_tables(wanted: Counts, found: Counts, total: int) -> Check:
    """Compare two tables, place -> what -> number, over every place and what of either."""
    empty: Mapping[str, int] = {}
    cells = [
        (place, what, wanted.get(place, empty).get(what), found.get(place, empty).get(what))
        for place in _union(wanted, found)
        for what in _union(wanted.get(place, empty), found.get(place, empty))
    ]
    differences = tuple(Difference(place or "encoder", what, a, b) for place, what, a, b in cells if a != b)
    return _verdict(differences, len(cells), total)


def _unfold_counts(counts: Counts, twins: Mapping[str, str]) -> Counts:
    """Give twins the counts of their originals, and the encoder those of its twins."""
    result = {module: dict(kinds) for module, kinds in counts.items() if module != CONTAINER and kinds}
    total = result.setdefault("", {})
    for twin, original in twins.items():
        for module in [name for name in counts if name == original or name.startswith(f"{original}.")]:
            result[twin + module.removeprefix(original)] = dict(counts[module])
        for kind, value in counts.get(original, {}).items():
            total[kind] = total.get(kind, 0) + value
    return {module: kinds for module, kinds in result.items() if kinds}


def _unfold(values: Mapping[str, Value], twins: Mapping[str, str]) -> dict[str, Value]:
    return {**values, **{twin: values[original] for twin, original in twins.items()}}


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    yield from one
    yield from (key for key in other if key not in one)


def _verdict(differences: tuple[Difference, ...], compared: int, total: int) -> Check:
    return Check("differs" if differences else "exact", compared, total, differences=differences)


def _text(shape: tuple[int, ...] | None) -> str | None:
    return None if shape is None else "x".join(map(str, shape))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _physical_memory() -> int:
    if not hasattr(os, "sysconf"):  # Windows
        return 1 << 33
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
