"""Shortens the real stack to one block of each kind, and gives the numbers of that block to all blocks like it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..verdicts import Counts
from .meta import OnMeta

Value = TypeVar("Value")
Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype, bool]
"""Shape, strides, dtype, and whether it requires a gradient."""

Streams = Mapping[str, tuple[Layout, Layout]]
"""The layouts of the input and the output of each block, by its number."""

CONTAINER = "blocks"
PLAIN = (bool, int, float, str, tuple)

HOOKS = ("_forward_pre_hooks", "_forward_hooks")
OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Attributes that torch keeps in each module; what they hold is compared by itself."""


class Skipped(nn.Identity):
    """An identity in place of a block; it ignores the outputs that the block taps."""

    def forward(self, x: Tensor, *_taps: Tensor) -> Tensor:
        """`x`."""
        return x


def fold(model: nn.Module, twins: Mapping[str, str]) -> None:
    """Replace each twin by an identity."""
    blocks = model.get_submodule(CONTAINER)
    for twin in twins:
        blocks.add_module(twin.removeprefix(f"{CONTAINER}."), Skipped())


@contextmanager
def folded(model: nn.Module, twins: Mapping[str, str]) -> Iterator[None]:
    """Replace each twin by an identity within this context."""
    kept = {twin: model.get_submodule(twin) for twin in twins}
    fold(model, twins)
    try:
        yield
    finally:
        for twin, block in kept.items():
            model.get_submodule(CONTAINER).add_module(twin.removeprefix(f"{CONTAINER}."), block)


def twins_of(model: Any, image: Tensor) -> dict[str, str]:
    """The blocks that a later block repeats (twins), by a run on the meta device: see `twins_among`.

    If all weights train, all inputs need a gradient: autograd is then off.
    """
    is_off = all(weight.requires_grad for weight in model.parameters())
    blocks = model.get_submodule(CONTAINER).named_children()
    signatures = {f"{CONTAINER}.{index}": _signature(block) for index, block in blocks}
    with torch.set_grad_enabled(not is_off), OnMeta(), _each_kind_once(model, signatures) as streams:
        model(image)
    return twins_among(model, streams, signatures=signatures)


@contextmanager
def _each_kind_once(model: Any, signatures: Mapping[str, Any]) -> Iterator[dict[str, tuple[Layout, Layout]]]:
    """The layout of each block's input and output; of blocks that are alike and take inputs of the same layouts, one is run."""
    seen: dict[str, tuple[Layout, Layout]] = {}
    known: dict[Any, list[Layout]] = {}
    run = model.run_part

    def run_part(name: str, entering: list[Tensor], taps: list[Tensor]) -> tuple[Tensor, ...]:
        if name not in signatures:
            return run(name, entering, taps)
        given = tuple(map(_layout, (*entering, *taps)))
        kind = signatures[name], name in model.checkpointed, len(entering), given
        outputs = tuple(map(_like, known[kind])) if kind in known else run(name, entering, taps)
        left = known.setdefault(kind, list(map(_layout, outputs)))
        seen[name.removeprefix(f"{CONTAINER}.")] = given[0], left[0]
        return outputs

    model.run_part = run_part
    try:
        yield seen
    finally:
        del model.run_part


def twins_among(
    model: Any,
    streams: Streams,
    ran: Mapping[str, Sequence[Any]] | None = None,
    *,
    signatures: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """The blocks that a later block repeats (twins): name to name of the original.

    The last block of a kind is the original, since its gradient comes from the same part as in the whole encoder. Some
    blocks cannot be left out: one that changes the shape or the strides of its input; one whose output or input a later
    part taps, because that input stays alive and the next block gets another tensor; one whose output nothing reads,
    because its graph is freed with that output; one before a part that is not a block, because the gradient from there lies in
    another way; the first block of each kind that taps a part, because one of them keeps the tapped output longest.

    Args:
        model: an encoder on the meta device.
        streams: the layouts of each block's input and output.
        ran: which operations ran in each block, on which layouts, if that is known. Twins ran the same ones.
        signatures: what decides the cost of each block, if that is known: see `_signature`.
    """
    originals: dict[Any, str] = {}
    twins: dict[str, str] = {}
    blocks = model.get_submodule(CONTAINER)
    tapped = {name.partition(":")[0] for _, taps in model.plan for name in taps}
    tapping = {name for name, taps in model.plan if taps}
    first: dict[Any, str] = {}
    last = {tap: name for name, taps in model.plan for tap in taps}
    before = {following: name for (name, _), (following, _) in pairwise(model.plan)}
    after = {name: following for (name, _), (following, _) in pairwise(model.plan)}
    for index, (entering, leaving) in reversed(list(streams.items())):
        name = f"{CONTAINER}.{index}"
        unread = name in model.unread
        ends = not after.get(name, "").startswith(CONTAINER)
        stays = unread or ends or not tapped.isdisjoint({name, before[name]})
        frees = (
            before[name] not in tapped,
            name in last.values(),
        )  # whether it frees its input, and what it taps
        runs = tuple((ran or {}).get(name, ()))
        kind = (
            signatures[name] if signatures else _signature(blocks.get_submodule(index)),
            name in model.checkpointed,
            unread,
            entering,
            frees,
            runs,
        )
        original = originals.setdefault(kind, name)
        first[kind] = name
        if original != name and entering == leaving and not stays:
            twins[name] = original
    longest = tapping & {*first.values()}
    return {name: original for name, original in twins.items() if name not in longest}


@contextmanager
def watching(model: nn.Module) -> Iterator[dict[str, tuple[Layout, Layout]]]:
    """The layout of each block's input and output, for a run of `model` within this context."""
    seen: dict[str, tuple[Layout, Layout]] = {}

    def watch(index: str) -> Callable[..., None]:
        def see(_: nn.Module, entering: tuple[Tensor, ...], leaving: Tensor | tuple[Tensor, ...]) -> None:
            out = leaving if isinstance(leaving, Tensor) else leaving[0]
            seen[index] = _layout(entering[0]), _layout(out)

        return see

    blocks = model.get_submodule(CONTAINER).named_children()
    handles = [block.register_forward_hook(watch(index)) for index, block in blocks]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _layout(tensor: Tensor) -> Layout:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.requires_grad


def _like(layout: Layout) -> Tensor:
    """A tensor of a layout on the meta device."""
    shape, strides, dtype, requires_grad = layout
    return torch.empty_strided(shape, strides, dtype=dtype, device="meta", requires_grad=requires_grad)


def _signature(block: nn.Module) -> Any:
    """What decides a block's cost: its modules, their attributes and hooks, the shapes of weights and buffers, what trains.

    Attributes that cannot be compared are equal only if they are the same object.
    """
    return tuple(
        (
            name,
            type(module),
            tuple((key, _comparable(value)) for key, value in vars(module).items() if _decides_cost(key)),
            tuple(
                (key, tuple(weight.shape), weight.requires_grad)
                for key, weight in module.named_parameters(recurse=False)
            ),
            tuple((key, tuple(buffer.shape)) for key, buffer in module.named_buffers(recurse=False)),
            tuple(id(hook) for hooks in HOOKS for hook in vars(module)[hooks].values()),
        )
        for name, module in block.named_modules()
    )


def _decides_cost(attribute: str) -> bool:
    return attribute not in OF_EVERY_MODULE


def _comparable(value: Any) -> Any:
    return value if value is None or isinstance(value, PLAIN) else ("object", id(value))


def unfold_counts(counts: Counts, twins: Mapping[str, str]) -> Counts:
    """Give twins the counts of their originals, and add them to the encoder's."""
    result = {module: dict(kinds) for module, kinds in counts.items() if module != CONTAINER and kinds}
    total = result.setdefault("", {})
    for twin, original in twins.items():
        for module in [name for name in counts if name == original or name.startswith(f"{original}.")]:
            result[twin + module.removeprefix(original)] = dict(counts[module])
        for kind, value in counts.get(original, {}).items():
            total[kind] = total.get(kind, 0) + value
    return {module: kinds for module, kinds in result.items() if kinds}


def unfold(values: Mapping[str, Value], twins: Mapping[str, str]) -> dict[str, Value]:
    """Give twins the values of their originals."""
    return {**values, **{twin: values[original] for twin, original in twins.items()}}
