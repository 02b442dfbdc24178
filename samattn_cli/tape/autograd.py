"""Backward on the Tape: the graph of a forward pass run in the order, and with the memory, of PyTorch's engine.

Source: torch/csrc/autograd/engine.cpp, input_buffer.cpp and accumulate_grad.h. What matters for memory:

- nodes run from the last made to the first; a weight's gradient is taken over as soon as all that use it have run;
- a gradient that two operations share is one tensor; it is added to in place if nothing else holds it, and a view
  holds what it is a view of;
- a gradient that no operand needs goes as soon as it is there;
- a gradient is reduced to the shape of an input that was broadcast before what the node took and saved goes.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from .graph import Edge, Node, Sum
from .storage import Storage
from .tape import Tape
from .tensor import Tensor, contiguous_stride


def backward(
    tape: Tape,
    outputs: Sequence[tuple[Tensor, Tensor | None]],
    entries: Sequence[tuple[Tensor, Tensor | None]],
    held: Iterable[Storage] = (),
    *,
    checkpoint: tuple[Storage, ...] = (),
    taken: set[Storage] | None = None,
) -> tuple[Tensor | None, ...]:
    """Run the backward of what made `outputs`, up to the entries of their segment.

    Args:
        tape: where its operations are recorded.
        outputs: each with its gradient, if it has one.
        entries: the inputs of the segment, each with the gradient that it has from elsewhere already.
        held: storages that others keep.
        checkpoint: the inputs from which all that nodes saved is computed again: they are kept until the last of them has
            run, and what they saved is let go of as soon as it has been used.
        taken: to it are added the storages that gradients of weights are views of, and so keep.

    Returns:
        The gradient of each entry; None where it has none.
    """
    engine = _Engine(tape, held, checkpoint, set() if taken is None else taken)
    engine.expect(*(output.grad_fn for output, gradient in outputs if gradient is not None))
    for entry, gradient in entries:
        engine.give(entry.grad_fn, gradient)
    for output, gradient in outputs:
        engine.give(output.grad_fn, gradient)
    return engine.run(*(entry.grad_fn for entry, _ in entries))


class _Engine:
    def __init__(
        self, tape: Tape, held: Iterable[Storage], checkpoint: tuple[Storage, ...], taken: set[Storage]
    ) -> None:
        self.tape = tape
        self.checkpoint = checkpoint
        self.taken = taken
        self.holders: defaultdict[Storage, int] = defaultdict(int)
        self.unpacked = False  # whether anything that was saved has been asked for
        self.buffers: dict[Node, list[Tensor | None]] = {}
        self.ready: list[tuple[float, int, Node]] = []
        self.to_unpack = 0
        self.uses: defaultdict[Node, int] = defaultdict(int)  # of weights, still to come
        self._hold(held)

    def expect(self, *starts: Edge | None) -> None:
        """All that runs from `starts` holds what it saved."""
        for node in _reachable(starts):
            self._hold(node.saved)
            self.to_unpack += node.unpacks
            for edge in node.edges:
                if edge and edge[0].shape:
                    self.uses[edge[0]] += 1
        if self.to_unpack:
            self._hold(self.checkpoint)

    def _hold(self, storages: Iterable[Storage]) -> None:
        for storage in storages:
            self.holders[storage] += 1

    def give(self, edge: Edge | None, gradient: Tensor | None) -> None:
        """A gradient that there is at the start."""
        if gradient is not None:
            self._deliver(edge, gradient)

    def run(self, *ends: Edge | None) -> tuple[Tensor | None, ...]:
        """Run until nothing is left but the gradients of `ends`."""
        reached: dict[Node, Tensor | None] = {}
        while self.ready:
            *_, node = heapq.heappop(self.ready)
            gradients = self.buffers.pop(node)
            if node.shape:
                self._take_over(node, gradients[0])
            elif node.backward is None:
                reached[node] = gradients[0]
            else:
                self._call(node, gradients)
        return tuple(end and reached.get(end[0]) for end in ends)

    def _call(self, node: Node, gradients: list[Tensor | None]) -> None:
        assert node.backward is not None  # noqa: S101 - the caller's case; told to the type checker
        if node.scope is not None:
            self.tape.scope = node.scope
        if node.unpacks and not self.unpacked:
            self.unpacked = True
            self.tape.record("unpack", "unpack")
        results = [
            self._held(edge, result)
            for edge, result in zip(node.edges, node.backward(self.tape, *gradients), strict=True)
        ]
        if self.checkpoint:
            self._release(*node.saved)
        reduced = [self._reduce(result) for result in results]
        self._release(*[gradient.storage for gradient in gradients if gradient is not None])
        if not self.checkpoint:
            self._release(*node.saved)
        elif node.unpacks:
            self.to_unpack -= 1
            self._release(*() if self.to_unpack else self.checkpoint)
        for edge, result in zip(node.edges, reduced, strict=True):
            if result is not None:
                self._deliver(edge, result, held=True)

    def _held(self, edge: Edge | None, result: Tensor | Sum | None) -> Tensor | Sum | None:
        """A gradient, held, or None where nothing needs it."""
        if result is None:
            return None
        storage = (result.gradient if isinstance(result, Sum) else result).storage
        self.holders[storage] += 1
        if edge is None:
            self._release(storage)
            return None
        return result

    def _reduce(self, result: Tensor | Sum | None) -> Tensor | None:
        if not isinstance(result, Sum):
            return result
        summed = self._hand_on(result.gradient, self.tape.sum_to("sum", result.gradient, result.shape))
        return self._hand_on(summed, self.tape.cast("grad_cast", summed, result.item_bytes))

    def _hand_on(self, given: Tensor, made: Tensor) -> Tensor:
        """What was `made` is held from now on, in place of what it was made of."""
        self.holders[made.storage] += 1
        self._release(given.storage)
        return made

    def _deliver(self, edge: Edge | None, gradient: Tensor, *, held: bool = False) -> None:
        """Put `gradient` into the buffer of a node, adding it to what is there."""
        if not held:
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
            heapq.heappush(self.ready, (-node.number, id(node), node))

    def _add(self, old: Tensor, new: Tensor) -> Tensor:
        if self.holders[old.storage] == 1 and not old.is_view and old.is_dense:
            self.tape.add_("accumulate", old, new)
            out = old
        else:
            out = self.tape.elementwise("accumulate", "add", old, new)
            self.holders[out.storage] += 1
            self._release(old.storage)
        self._release(new.storage)
        return out

    def _take_over(self, node: Node, gradient: Tensor | None) -> None:
        """A weight keeps its gradient, or a copy of one that is held elsewhere or in another order than its own."""
        assert gradient is not None  # noqa: S101 - a leaf has one output; told to the type checker
        own = self._is_alone(gradient) and all(
            size == 1 or one == other
            for size, one, other in zip(
                node.shape, gradient.stride, contiguous_stride(node.shape), strict=True
            )
        )
        if own:
            self.taken |= {gradient.storage} if gradient.is_view else set()
        else:
            self.tape.make("gradient", "copy", (gradient,), node.shape)
            self._release(gradient.storage)

    def _is_alone(self, gradient: Tensor) -> bool:
        """Whether no one else has this tensor; its memory may be that of others, if it is a view."""
        if not gradient.is_view:
            return self.holders[gradient.storage] == 1
        return not any(gradient is other for buffer in self.buffers.values() for other in buffer)

    def _release(self, *storages: Storage) -> None:
        for storage in storages:
            left = self.holders[storage] - 1
            self.holders[storage] = left
            if not left:
                self.tape.free_storages(storage)


def _reachable(starts: Iterable[Edge | None]) -> Iterator[Node]:
    seen: set[Node] = set()
    left = [*starts]
    while left:
        edge = left.pop()
        if edge is not None and edge[0] not in seen:
            seen.add(edge[0])
            left += edge[0].edges
            yield edge[0]
