"""Which part or layer an operation belongs to.

Layers are the repeated modules: children of one list with the same class. Where modules have attention, a layer is the innermost
repeated module with attention in it; a list of one block counts too. Without attention, it is the innermost repeated module that
has modules in it. Parts are the outermost modules that hold no layer. What runs directly in a module that holds layers is named
after the weight that it uses ("pos_embed"), or after that module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ...reports.trace import Trace, TracedModule, TracedOp

SOFTMAX = ("_softmax", "_safe_softmax")
"""ATen's softmax, and that of unfused attention, which is safe for rows that are masked as a whole."""
WHOLE = "forward"
"""The name of what runs directly in the whole module."""


def is_attention(op: TracedOp) -> bool:
    """Whether it computes attention, or the softmax of one."""
    return op.phase == "forward" and (op.attention is not None or op.name in SOFTMAX)


class Places:
    """The layers and parts of a traced module."""

    def __init__(self, trace: Trace) -> None:
        self._weights = trace.weights
        self._modules = {module.name: module for module in trace.modules}
        attending = _with_parents(op.module for op in trace.forward if is_attention(op))
        repeated = self._repeated(trace.modules)
        kinds = {self._modules[name].type for name in repeated if name in attending and self._is_own(name)}
        layers = [name for name in repeated if name in attending or self._modules[name].type in kinds]
        layers = layers or self._alone(trace.modules, attending)
        self.layers = tuple(_innermost(layers or list(filter(self._is_own, repeated))))
        self._layers = frozenset(self.layers)
        self._above = _with_parents(self.layers) - self._layers | {""}
        self._known: dict[str, str] = {}

    def of(self, op: TracedOp) -> str:
        """The name of the layer or part of an operation."""
        if op.module not in self._known:
            self._known[op.module] = self._of(op.module)
        if op.module in self._above:
            return self._by_weight(op) or op.module or WHOLE
        return self._known[op.module]

    def type_of(self, place: str) -> str:
        """The class of the module of a place; "" if it is no module."""
        module = self._modules.get(place)
        return module.type.rpartition(".")[2] if module else ""

    def runs_of(self, place: str) -> int:
        """How often the module of a place ran in a forward; 1 if it is no module."""
        return self._modules[place].runs if place in self._modules else 1

    def heads_of(self, module: str) -> int:
        """The number of heads that a module says it has, or one of its parents; 0 if none does."""
        for name in (*_parents(module),):
            if name in self._modules and self._modules[name].heads:
                return self._modules[name].heads
        return 0

    def is_leaf(self, module: str) -> bool:
        """Whether a module is one of torch's own that hold no other."""
        known = self._modules.get(module)
        return (
            known is not None and known.type.startswith("torch.nn.modules.") and not self._has_modules(module)
        )

    def _of(self, module: str) -> str:
        parents = list(_parents(module))
        layer = next((name for name in parents if name in self._layers), "")
        if layer:
            return layer
        return next((name for name in reversed(parents) if name not in self._above), module)

    def _by_weight(self, op: TracedOp) -> str:
        names = [self._weights[number].name for number in op.weights]
        own = [name for name in names if name.rpartition(".")[0] == op.module]
        return own[0] if own else ""

    def _repeated(self, modules: Iterable[TracedModule]) -> list[str]:
        """Children of a list of which others have the same class, and those that are alone in theirs but of such a class."""
        children = [module for module in modules if self._in_list(module.name)]
        counts = Counter((module.name.rpartition(".")[0], module.type) for module in children)
        kinds = {module_type for (_, module_type), count in counts.items() if count > 1}
        return [module.name for module in children if module.type in kinds and not self._is_plain(module)]

    def _alone(self, modules: Iterable[TracedModule], attending: set[str]) -> list[str]:
        return [module.name for module in modules if self._in_list(module.name) and module.name in attending]

    def _in_list(self, name: str) -> bool:
        parent = self._modules.get(name.rpartition(".")[0])
        return bool(name) and parent is not None and parent.is_list

    def _is_plain(self, module: TracedModule) -> bool:
        """Whether it is a layer of torch, such as a Linear."""
        return module.type.startswith("torch.nn.modules.") and not self._has_modules(module.name)

    def _is_own(self, name: str) -> bool:
        """Whether a module with modules in it is not one of torch's own, such as a Sequential."""
        return self._has_modules(name) and not self._modules[name].type.startswith("torch.nn.modules.")

    def _has_modules(self, name: str) -> bool:
        return any(other.startswith(f"{name}.") for other in self._modules)


def _innermost(names: list[str]) -> Iterator[str]:
    above = {parent for name in names for parent in _parents(name) if parent != name}
    return (name for name in names if name not in above)


def _with_parents(names: Iterable[str]) -> set[str]:
    return {parent for name in set(names) for parent in _parents(name)}


def _parents(name: str) -> Iterator[str]:
    """The module, its parents, and "" for the whole."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""
