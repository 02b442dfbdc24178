"""The order of the weights of a model: that of ``model.parameters()``, and that in which ``model.to(device)`` moves them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from types import MappingProxyType

from .segments import Segment

Registered = Mapping[str, Sequence[str]]
"""Of modules whose submodules or weights are used in another order than that of their registration: these in order."""


def registered_in(segments: Iterable[Segment]) -> Registered:
    """Those of an encoder."""
    return {
        ".".join(filter(None, (segment.name, module))): names
        for segment in segments
        for module, names in segment.recording.registered.items()
    }


def in_module_order(
    names: Iterable[str], registered: Registered = MappingProxyType({}), *, moved: bool = False
) -> tuple[str, ...]:
    """Names of weights in the order of ``model.parameters()``: a module's own, then those of its submodules, one by one.

    Args:
        names: the names, in the order of use.
        registered: the order of registration, where it is another.
        moved: whether they are to be in the order of ``model.to(device)``: a module's own are last.
    """
    others = tuple((module, tuple(order)) for module, order in registered.items())
    return _in_module_order(tuple(names), others, moved)


@lru_cache(maxsize=16)
def _in_module_order(
    names: tuple[str, ...], registered: tuple[tuple[str, tuple[str, ...]], ...], moved: bool
) -> tuple[str, ...]:
    """The same; settings of one encoder have the same names."""
    return tuple(_ordered(names, dict(registered), moved=moved, module=""))


def _ordered(names: Iterable[str], registered: Registered, *, moved: bool, module: str) -> Iterator[str]:
    """Names of the weights of a module, below it."""
    own: list[str] = []
    below: dict[str, list[str]] = {}
    for name in names:
        head, _, rest = name.partition(".")
        if rest:
            below.setdefault(head, []).append(rest)
        else:
            own.append(name)
    place = partial(_place_in, {name: place for place, name in enumerate(registered.get(module, ()))})
    if not moved:
        yield from sorted(own, key=place)
    for head in sorted(below, key=place):
        inner = f"{module}.{head}" if module else head
        rests = _ordered(below[head], registered, moved=moved, module=inner)
        yield from (f"{head}.{rest}" for rest in rests)
    if moved:
        yield from sorted(own, key=place)


def _place_in(order: Mapping[str, int], name: str) -> int:
    """Names that are not in the order are last."""
    return order.get(name, len(order))
