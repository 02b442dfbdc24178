"""One block of each kind for all that are alike: the real stack shortened, and its numbers lengthened again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..verdicts import Counts

Value = TypeVar("Value")
Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype, bool]
"""Shape, strides and type, and whether autograd follows it."""

CONTAINER = "blocks"
PLAIN = (bool, int, float, str, tuple)


class Skipped(nn.Identity):
    """In place of a block: the stream as it was, whatever it taps."""

    def forward(self, x: Tensor, *_taps: Tensor) -> Tensor:
        """`x`."""
        return x


def fold(model: nn.Module, twins: Mapping[str, str]) -> None:
    """Replace each twin by an identity."""
    blocks = model.get_submodule(CONTAINER)
    for twin in twins:
        blocks.add_module(twin.removeprefix(f"{CONTAINER}."), Skipped())


def twins_of(model: Any, image: Tensor) -> dict[str, str]:
    """The blocks that a later one repeats: name to name of the original.

    The last of a kind is it: what comes to it in backward is what comes to it in the whole encoder. A block that makes
    another shape, or other strides, of its stream cannot be left out, nor one whose output or input a later part takes
    too: that input is not let go of, and the next block's is another tensor. The first to tap a part is run: it is the
    one that keeps what it taps longest.

    Args:
        model: an encoder on the meta device: it is run once.
        image: its input.
    """
    originals: dict[Any, str] = {}
    twins: dict[str, str] = {}
    blocks = model.get_submodule(CONTAINER)
    tapped = {name for _, taps in model.plan for name in taps}
    first = {tap: name for name, taps in reversed(model.plan) for tap in taps}
    last = {tap: name for name, taps in model.plan for tap in taps}
    before = {following: name for (name, _), (following, _) in pairwise(model.plan)}
    for index, (entering, leaving) in reversed(list(_streams(model, image).items())):
        name = f"{CONTAINER}.{index}"
        stays = name in first.values() or not tapped.isdisjoint({name, before[name]})
        lets_go = before[name] not in tapped, name in last.values()  # of its input, of what it taps
        kind = _signature(blocks.get_submodule(index)), entering, lets_go
        original = originals.setdefault(kind, name)
        if original != name and entering == leaving and not stays:
            twins[name] = original
    return twins


def _streams(model: nn.Module, image: Tensor) -> dict[str, tuple[Layout, Layout]]:
    """The layout of what enters and leaves each block; where all weights train autograd is left out, which follows all."""
    seen: dict[str, tuple[Layout, Layout]] = {}

    def watch(index: str) -> Callable[..., None]:
        def see(_: nn.Module, entering: tuple[Tensor, ...], leaving: Tensor) -> None:
            seen[index] = _layout(entering[0]), _layout(leaving)

        return see

    blocks = model.get_submodule(CONTAINER).named_children()
    handles = [block.register_forward_hook(watch(index)) for index, block in blocks]
    with torch.set_grad_enabled(not all(weight.requires_grad for weight in model.parameters())):
        model(image)
    for handle in handles:
        handle.remove()
    return seen


def _layout(tensor: Tensor) -> Layout:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.requires_grad


def _signature(block: nn.Module) -> Any:
    """All that decides a block's cost: its modules, their attributes, the shapes of their weights and buffers, what trains.

    A block with an attribute that cannot be compared here is like no other.
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
        )
        for name, module in block.named_modules()
    )


def _decides_cost(attribute: str) -> bool:
    return not attribute.startswith("_") and attribute != "training"


def _comparable(value: Any) -> Any:
    return value if value is None or isinstance(value, PLAIN) else object()


def unfold_counts(counts: Counts, twins: Mapping[str, str]) -> Counts:
    """Give twins the counts of their originals, and the encoder those of its twins."""
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
