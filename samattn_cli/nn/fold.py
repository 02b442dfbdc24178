"""One block of each kind for all that are alike: the real stack shortened, and its numbers lengthened again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from ..verdicts import Counts

Value = TypeVar("Value")

CONTAINER = "blocks"
PLAIN = (bool, int, float, str, tuple)


def fold(model: nn.Module) -> dict[str, str]:
    """Replace each block that a later one repeats by an identity; return the names of twins to their originals.

    The last of a kind stays: what comes to it in backward is what comes to it in the whole encoder.
    """
    originals: dict[Any, str] = {}
    twins: dict[str, str] = {}
    blocks = model.get_submodule(CONTAINER)
    for index, block in reversed(list(blocks.named_children())):
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
