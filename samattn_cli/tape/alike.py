"""Code that is run for many groups of operands that lie alike, such as windows of one size, one after the other.

What it records differs in nothing but storages. So it is run for the first group and for the last two, and what the first
has recorded is copied for the others. In the same way, `autograd` copies their backward from that of the last group but one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable

from . import graph
from .copies import Template
from .graph import NO_GRAPH, Copied, Edge, Node
from .immutable import immutable
from .storage import Storage
from .tape import Tape
from .tensor import Tensor

FEWEST = 5
"""Copying pays from this number of groups on."""

LAST = 2
"""How many of the last groups are run: the backward runs the last one first, and is copied from the one after it."""


@immutable(frozen=True, eq=False)
class Run:
    """What a group of operands has recorded.

    Attributes:
        out: its result.
        edges: those of its operands.
        template: its operations, of which a copy has its own of the storages that they allocate.
        nodes: of autograd's graph.
        is_alone: whether it has changed nothing else on the Tape, and its graph leads only to its operands.
        is_named: whether its backward names its operations itself: that of a view has the name of the one before.
    """

    out: Tensor
    edges: tuple[Edge | None, ...]
    template: Template
    nodes: tuple[Node, ...]
    is_alone: bool
    is_named: bool


def for_each(
    tape: Tape, code: Callable[..., Tensor], groups: Iterable[tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Run code that uses no weights, and frees all it makes but its result, for each group of operands."""
    each = tuple(groups)
    alike: defaultdict[Hashable, list[int]] = defaultdict(list)
    for number, operands in enumerate(each):
        alike[tuple(map(_lies, operands))].append(number)
    kinds = {number: numbers for numbers in alike.values() for number in numbers}
    first: dict[int, Run] = {}
    shared: defaultdict[int, list[Run]] = defaultdict(list)
    outputs = []
    for number, operands in enumerate(each):
        numbers = kinds[number]
        run = first.get(numbers[0])
        can_be_copied = run is not None and run.is_alone and (run.is_named or len(alike) == 1)
        if run is not None and can_be_copied and number not in numbers[-LAST:]:
            outputs.append(_copy(tape, run, operands, shared[numbers[0]]))
            continue
        if len(numbers) < FEWEST or number not in {numbers[0], numbers[-LAST]}:
            outputs.append(code(*operands))
            continue
        run = _run(tape, code, operands)
        outputs.append(run.out)
        if number == numbers[0]:
            first[number] = run
        else:
            shared[numbers[0]].append(run)
    return tuple(outputs)


def _lies(x: Tensor) -> Hashable:
    """What two operands have in common where code records the same for both."""
    return x.shape, x.stride, x.storage, x.item_bytes, x.is_view, x.grad_fn and (x.grad_fn[0], 0)


def _run(tape: Tape, code: Callable[..., Tensor], operands: tuple[Tensor, ...]) -> Run:
    at, number, before = len(tape.ops), graph.next_number(), _others(tape)
    out = code(*operands)
    ops = tuple(tape.ops[at:])
    edges = tuple(x.grad_fn for x in operands)
    nodes = tuple(_nodes(out.grad_fn, number))
    leaving = {edge for node in nodes for edge in node.edges if edge and edge[0] not in nodes}
    is_alone = (
        before == _others(tape)
        and not any(op.parameters or op.frees_last for op in ops)
        and leaving <= {*edges}
        and bool(nodes) == (out.grad_fn is not None and out.grad_fn is not NO_GRAPH)
    )
    made = tuple(storage for op in ops for storage in op.allocates)
    return Run(out, edges, Template(ops, made), nodes, is_alone, not nodes or nodes[0].scope is not None)


def _others(tape: Tape) -> tuple[object, ...]:
    """What code may change on a Tape, besides its operations."""
    held = (
        tape.copied,
        tape.buffers,
        tape.only_first,
        tape.unread,
        tape.copies,
        tape.registered,
        tape.unrecorded,
    )
    return (*(len(each) for each in held), tape.last_used)


def _nodes(edge: Edge | None, first: float) -> Iterable[Node]:
    """The nodes from an edge on that were made from a number on; not the leaves, which are weights."""
    seen: set[Node] = set()
    left = [edge]
    while left:
        node = (left.pop() or (None, 0))[0]
        if node is not None and node not in seen and node.number >= first and not node.shape:
            seen.add(node)
            yield node
            left += node.edges


def _copy(tape: Tape, run: Run, operands: tuple[Tensor, ...], templates: list[Run]) -> Tensor:
    """Record for other operands what a run has recorded."""
    made = run.template.replaced
    storages = tuple([Storage(each.nbytes) for each in made])
    new = dict(zip(made, storages, strict=True))
    tape.copy(run.template, storages)
    edge = NO_GRAPH if run.out.grad_fn is NO_GRAPH else None
    if run.nodes:
        saved = tuple([new.get(each, each) for node in run.nodes for each in node.saved])
        unpacks = sum(node.unpacks for node in run.nodes)
        edges = tuple(x.grad_fn for x in operands)
        edge = Node(None, edges, (), saved, unpacks, copied=Copied(templates, storages)), 0
    out = run.out
    return Tensor(out.shape, out.steps, new.get(out.storage, out.storage), out.item_bytes, edge, out.is_view)
