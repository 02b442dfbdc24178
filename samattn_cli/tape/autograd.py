"""Backward on the Tape: runs the graph of a forward pass in the order of PyTorch's engine, with its memory.

Source: torch/csrc/autograd/engine.cpp, input_buffer.cpp and accumulate_grad.h. These rules matter for memory:

- Nodes run from the last made to the first. A weight takes its gradient as soon as all operations that use it have run.
- A gradient that two operations share is one tensor. Another is added to it in place if nothing else holds it. A view holds
  the tensor that it is a view of.
- A gradient that no operand needs is freed at once.
- A gradient is first reduced to the shape of an input that was broadcast. Then the node's inputs and saved tensors are freed.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from .graph import NO_GRAPH, Copied, Edge, Node, Sum
from .immutable import immutable
from .storage import Shape, Storage
from .tape import Tape
from .tensor import Tensor, is_contiguous

if TYPE_CHECKING:  # not at run time: few encoders have copies
    from .copies import Template

SUM = "accumulate"
"""The operation that adds a gradient to another of the same tensor."""


def backward(
    tape: Tape,
    outputs: Sequence[tuple[Tensor, Tensor | None]],
    entries: Sequence[tuple[Tensor, Tensor | None]],
    kept: Iterable[Storage] = (),
    *,
    checkpoint: tuple[Storage, ...] = (),
    is_again: bool = False,
    kept_by_weights: set[Storage] | None = None,
    accumulating: bool = False,
    moved: bool = False,
    completed: list[Shape] | None = None,
) -> tuple[Tensor | None, ...]:
    """Run the backward of a segment, from its outputs to its entries.

    Args:
        tape: records its operations.
        outputs: each with its gradient, if it has one.
        entries: the inputs of the segment, each with the gradient that it already has from elsewhere.
        kept: storages that others keep.
        checkpoint: the inputs from which saved tensors are computed again; they are kept until the last node has run.
        is_again: whether saved tensors are computed again; each is freed as soon as it has been used.
        kept_by_weights: gets the storages that gradients of weights are views of, and so keep.
        accumulating: whether the weights have a gradient already. Theirs is added to it in place, and freed.
        moved: whether each gradient of a weight is moved elsewhere as soon as it is complete, and freed.
        completed: gets the shapes of the gradients of weights in the order in which they are complete.

    Returns:
        The gradient of each entry; None if it has none.

    Raises:
        RuntimeError: if the forward made no graph.
    """
    if any(output.grad_fn is NO_GRAPH for output, _ in outputs):
        raise RuntimeError("a backward needs a forward that made a graph")
    engine = _Engine(tape, kept, checkpoint, set() if kept_by_weights is None else kept_by_weights)
    engine.accumulating, engine.moved, engine.is_again = accumulating, moved, is_again
    engine.expect(*(output.grad_fn for output, gradient in outputs if gradient is not None))
    for entry, gradient in entries:
        engine.give(entry.grad_fn, gradient)
    for output, gradient in outputs:
        engine.give(output.grad_fn, gradient)
    ends = engine.run(*(entry.grad_fn for entry, _ in entries))
    if completed is not None:
        completed += engine.completed
    return ends


@immutable(frozen=True, eq=False)
class _Watched:
    """The backward of nodes from which others are copied.

    Attributes:
        template: its operations. A copy has its own of the storages that the forward has made, of the gradient that it is
            given, and of what they allocate.
        made: the latter.
        results: the gradients of its operands.
        changes: by how much it changes how often a storage is held.
        scope: the last operation's.
    """

    template: Template
    made: tuple[Storage, ...]
    results: tuple[Tensor | None, ...]
    changes: tuple[tuple[Storage, int], ...]
    scope: tuple[str, ...]


class _Engine:
    def __init__(
        self,
        tape: Tape,
        kept: Iterable[Storage],
        checkpoint: tuple[Storage, ...],
        kept_by_weights: set[Storage],
    ) -> None:
        self.tape = tape
        self.checkpoint = checkpoint
        self.kept_by_weights = kept_by_weights
        self.holders: defaultdict[Storage, int] = defaultdict(int)
        self.accumulating = self.moved = self.is_again = False
        self.completed: list[Shape] = []
        self.unpacked = False  # whether a saved tensor has been used
        self.buffers: dict[Node, list[Tensor | None]] = {}
        self.ready: list[tuple[float, int, Node]] = []
        self.pushed = count()
        self.to_unpack = 0
        self.uses: defaultdict[Node, int] = defaultdict(
            int
        )  # how many nodes that use a weight are still to run
        self.templates: dict[Node, Any] = {}  # runs from which nodes are copied, by their first node
        self.watched: dict[Node, _Watched] = {}
        self._hold(kept)

    def expect(self, *starts: Edge | None) -> None:
        """Prepare to run from `starts`: each node that will run holds its saved tensors."""
        seen: set[Node] = set()
        left = [edge[0] for edge in starts if edge is not None]
        while left:
            node = left.pop()
            if node in seen:
                continue
            seen.add(node)
            for storage in node.saved:
                self.holders[storage] += 1
            self.to_unpack += node.unpacks
            if node.copied is not None:
                (run,) = node.copied.template
                self.templates[run.nodes[0]] = run
            for edge in node.edges:
                if edge is None:
                    continue
                if edge[0].shape:
                    self.uses[edge[0]] += 1
                else:
                    left.append(edge[0])
        if self.to_unpack:
            self._hold(self.checkpoint)

    def _hold(self, storages: Iterable[Storage]) -> None:
        for storage in storages:
            self.holders[storage] += 1

    def give(self, edge: Edge | None, gradient: Tensor | None) -> None:
        """Deliver a gradient that exists at the start."""
        if gradient is not None:
            self._deliver(edge, gradient)

    def run(self, *ends: Edge | None) -> tuple[Tensor | None, ...]:
        """Run all nodes, and return the gradients of `ends`."""
        reached: dict[Node, Tensor | None] = {}
        while self.ready:
            *_, node = heapq.heappop(self.ready)
            gradients = self.buffers.pop(node)
            if node.shape:
                self._take_over(node, gradients[0])
            elif node.copied is not None:
                self._copy(node, node.copied, gradients[0])
            elif node in self.templates:
                self._watch(node, gradients)
            elif node.backward is None:
                reached[node] = gradients[0]
            else:
                self._call(node, gradients)
        return tuple(end and reached.get(end[0]) for end in ends)

    def _watch(self, first: Node, gradients: list[Tensor | None]) -> None:
        """Run the nodes of a template, which no others interrupt, and remember what they do."""
        from .copies import Template

        run, (gradient,) = self.templates[first], gradients
        assert gradient is not None  # noqa: S101 - for the type checker: its only output has a gradient
        held, at = dict(self.holders), len(self.tape.ops)
        nodes = {*run.nodes}
        self._call(first, gradients)
        while self.ready and self.ready[0][-1] in nodes:
            *_, node = heapq.heappop(self.ready)
            self._call(node, self.buffers.pop(node))
        ops = tuple(op for op in self.tape.ops[at:] if op.kind != "unpack")
        made = tuple(storage for op in ops for storage in op.allocates)
        self.watched[first] = _Watched(
            Template(ops, (*run.template.replaced, gradient.storage, *made)),
            made,
            tuple(edge and self.buffers[edge[0]][edge[1]] for edge in run.edges),
            tuple((x, now - held.get(x, 0)) for x, now in self.holders.items() if now != held.get(x, 0)),
            self.tape.scope,
        )

    def _copy(self, node: Node, copied: Copied, gradient: Tensor | None) -> None:
        """Do what the nodes of a template have done, with other storages."""
        assert gradient is not None  # noqa: S101 - for the type checker, as above
        (run,) = copied.template
        watched = self.watched[run.nodes[0]]
        own = (*copied.storages, gradient.storage, *[Storage(each.nbytes) for each in watched.made])
        new = dict(zip(watched.template.replaced, own, strict=True))
        self.tape.copy(watched.template, own)
        self.tape.scope = watched.scope
        for storage, change in watched.changes:
            self.holders[new.get(storage, storage)] += change
        self.to_unpack -= node.unpacks
        for edge, result in zip(node.edges, watched.results, strict=True):
            if result is not None:
                self._deliver(edge, result.stored_in(new.get(result.storage, result.storage)), is_held=True)

    def _call(self, node: Node, gradients: list[Tensor | None]) -> None:
        assert node.backward is not None  # noqa: S101 - the caller has checked; for the type checker
        if node.scope is not None:
            self.tape.scope = node.scope
        if node.unpacks and not self.unpacked:
            self.unpacked = True
            self.tape.record("unpack", "unpack")
        results = node.backward(self.tape, *gradients, *node.given)
        needed = self._held(node.edges, results)
        if self.is_again:
            self._release(*node.saved)
        reduced = [(e, self._reduce(result) if result.__class__ is Sum else result) for e, result in needed]
        self._release(*[gradient.storage for gradient in gradients if gradient is not None])
        if not self.is_again:
            self._release(*node.saved)
        elif node.unpacks:
            self.to_unpack -= 1
            self._release(*() if self.to_unpack else self.checkpoint)
        for edge, gradient in reduced:
            self._deliver(edge, gradient, is_held=True)

    def _held(
        self, edges: tuple[Edge | None, ...], results: Sequence[Tensor | Sum | None]
    ) -> list[tuple[Edge, Any]]:
        """The gradients that something needs, each with its edge, and held from now on; the others are freed."""
        needed = []
        for edge, result in zip(edges, results, strict=True):
            if result is None:
                continue
            storage = (result.gradient if isinstance(result, Sum) else result).storage
            self.holders[storage] += 1
            if edge is None:
                self._release(storage)
            else:
                needed.append((edge, result))
        return needed

    def _reduce(self, result: Sum) -> Tensor:
        summed = self._hold_instead(result.gradient, self.tape.sum_to("sum", result.gradient, result.shape))
        return self._hold_instead(summed, self.tape.cast("grad_cast", summed, result.item_bytes))

    def _hold_instead(self, old: Tensor, new: Tensor) -> Tensor:
        """Hold `new` instead of `old`."""
        if new is old:
            return new
        self.holders[new.storage] += 1
        self._release(old.storage)
        return new

    def _deliver(self, edge: Edge | None, gradient: Tensor, *, is_held: bool = False) -> None:
        """Put `gradient` into the buffer of a node, or add it to the gradient that is there."""
        if not is_held:
            self.holders[gradient.storage] += 1
        if edge is None:
            self._release(gradient.storage)
            return
        node, index = edge
        buffer = self.buffers.get(node)
        is_ready = buffer is None
        if buffer is None:
            buffer = self.buffers[node] = [None] * node.outputs
        old = buffer[index]
        buffer[index] = gradient if old is None else self._add(old, gradient)
        if node.shape:
            self.uses[node] -= 1
            is_ready = not self.uses[node]
        if is_ready:
            heapq.heappush(self.ready, (-node.number, next(self.pushed), node))

    def _add(self, old: Tensor, new: Tensor) -> Tensor:
        if self.holders[old.storage] == 1 and not old.is_view and old.is_dense:
            self.tape.add_(SUM, old, new)
            out = old
        else:
            out = self.tape.elementwise(SUM, "add", old, new)
            self.holders[out.storage] += 1
            self._release(old.storage)
        self._release(new.storage)
        return out

    def _take_over(self, node: Node, gradient: Tensor | None) -> None:
        """A weight keeps its gradient, or a copy if the gradient is held elsewhere or has another memory order."""
        assert gradient is not None  # noqa: S101 - a leaf has one output; for the type checker
        self.completed.append(node.shape)
        if self.accumulating:
            self.tape.add_(SUM, self.tape.resident(node.shape), gradient)
            self._release(gradient.storage)
            return
        takes_it = self._is_alone(gradient) and is_contiguous(node.shape, gradient.stride)
        if takes_it and self.moved:
            self._release(gradient.storage)
        elif takes_it:
            self.kept_by_weights |= {gradient.storage} if gradient.is_view else set()
        else:
            (copy,) = self.tape.make("gradient", "copy", (gradient,), node.shape)
            self._release(gradient.storage)
            if self.moved:
                self.tape.free_storages(copy.storage)

    def _is_alone(self, gradient: Tensor) -> bool:
        """Whether nothing else holds this tensor. Others may hold the memory that a view shares."""
        if not gradient.is_view:
            return self.holders[gradient.storage] == 1
        return not any(gradient is other for buffer in self.buffers.values() for other in buffer)

    def _release(self, *storages: Storage) -> None:
        holders = self.holders
        for storage in storages:
            left = holders[storage] = holders[storage] - 1
            if not left:
                self.tape.free_storages(storage)
