"""The Tape's claims against the real stack: parameters, fvcore, FlopCounterMode, traced memory. Integers, equal or not.

By default one block of each kind is run and its numbers stand for its twins: the repeated blocks of the real stack
become identities, which changes nothing for the others, since a block keeps the shape and the strides of its stream.
Twins are told from the real modules, not from the config.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..config.model import EncoderConfig
from ..report import Check, Claims, Counts, CrossCheck, Difference, NamedNumber
from .count import count_with_flop_counter, count_with_fvcore
from .dynamo import without_dynamo
from .encoder import build, image_for
from .trace import rounded, trace_forward, trace_saved

Value = TypeVar("Value")
_ONE_AT_A_TIME = Lock()  # torch's tracer and FlopCounterMode keep state that threads share
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
    with _ONE_AT_A_TIME, torch.inference_mode(mode=False), without_dynamo():
        try:
            return _crosscheck(config, claims, every_layer=every_layer)
        except Exception as error:  # noqa: BLE001 - a stack that cannot be built is a verdict too
            return CrossCheck.not_run("failed", f"the real stack cannot be built: {_first_line(error)}")


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
        memory_trace=_attempt(partial(_compare_trace, claims), stack, None, need),
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
    """All that decides a block's cost: its modules, their attributes and the shapes of their weights and buffers.

    A block with an attribute that cannot be compared here is like no other.
    """
    return tuple(
        (
            name,
            type(module),
            tuple((key, _comparable(value)) for key, value in vars(module).items() if _decides_cost(key)),
            tuple((key, tuple(weight.shape)) for key, weight in module.named_parameters(recurse=False)),
            tuple((key, tuple(buffer.shape)) for key, buffer in module.named_buffers(recurse=False)),
        )
        for name, module in block.named_modules()
    )


def _decides_cost(attribute: str) -> bool:
    return not attribute.startswith("_") and attribute != "training"


def _comparable(value: Any) -> Any:
    return value if value is None or isinstance(value, PLAIN) else object()


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


def _compare_trace(claims: Claims, stack: _Stack) -> Check:
    forward = trace_forward(stack.model, stack.image, stack.weights_bytes)
    saved = _unfold(trace_saved(stack.model, stack.image), stack.twins)
    parts = _unfold(forward, stack.twins)
    found = {
        name: {"peak_bytes": part.peak_bytes, "saved_bytes": saved[name]} for name, part in parts.items()
    }
    wanted = {
        name: {"peak_bytes": peak, "saved_bytes": claims.saved_bytes[name]}
        for name, peak in claims.peak_bytes.items()
    }
    peak = max(part.peak_bytes for part in parts.values())
    sums = _compare_tables(wanted, found, peak)
    allocations = {name: part.allocations for name, part in parts.items()}
    products = {name: part.products for name, part in parts.items()}
    sequences = [
        *_compare_in_order(claims.allocations, allocations, "allocated bytes"),
        *_compare_in_order(claims.products, products, "FLOPs"),
    ]
    differences = tuple(cell for cell in sequences if cell.derived != cell.found)
    return _verdict(sums.differences + differences, sums.compared + len(sequences), peak)


def _compare_in_order(
    wanted: Mapping[str, Sequence[NamedNumber]], found: Mapping[str, Sequence[int]], what: str
) -> Iterator[Difference]:
    """Each number of each part beside its counterpart, equal or not."""
    for part in _union(wanted, found):
        for pair, number in zip_longest(wanted.get(part, ()), found.get(part, ())):
            name, derived = pair or ("one more operation", None)
            yield Difference(f"{part} {name}", what, derived, number)


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
    if not compared:
        return Check("failed", reason="there was nothing to compare")
    return Check("differs" if differences else "exact", compared, total, differences=differences)


def _text(shape: tuple[int, ...] | None) -> str | None:
    return None if shape is None else "x".join(map(str, shape))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _physical_memory() -> int:
    if not hasattr(os, "sysconf"):  # Windows
        return 1 << 33
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
