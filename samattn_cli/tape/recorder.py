"""Records operations, part by part, and makes their tensors. The Tape and its kernels are built on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

from ..records import replace
from ..units import INT64_BYTES
from .graph import NO_GRAPH, Backward, Edge, Node, leaf
from .immutable import maker
from .ops import ELEMENTWISE_FLOPS, LAID_OUT, Buffer, InputLayout, Op, Parameter, Recording
from .sdpa import Choice
from .sdpa_call import AMPERE, Target
from .storage import Dim, Shape, Storage
from .tensor import Tensor, contiguous_stride, copied_stride, dense_stride_like

if TYPE_CHECKING:  # not at run time: few encoders have copies
    from .copies import Copy, Template


_op, _parameter, _node = maker(Op), maker(Parameter), maker(Node)
_tensor, _storage = maker(Tensor), maker(Storage)


@lru_cache(maxsize=4096)
def _names(scope: tuple[str, ...], name: str) -> tuple[str, str]:
    """The names of a module and of an operation or weight in it, cached because blocks have the same names."""
    return ".".join(scope), ".".join(part for part in (*scope, name) if part)


def _row_major_tensor(
    shape: Shape, item_bytes: int, grad_fn: Edge | None = None, *, is_weight: bool = False
) -> Tensor:
    """A tensor in row-major order with its own memory."""
    nbytes = prod(shape) * item_bytes
    has_numbers = nbytes.__class__ is int and nbytes  # zero times a formula is a number, too
    steps = None if has_numbers else contiguous_stride(shape)
    return _tensor(shape, steps, _storage(nbytes, is_weight), item_bytes, grad_fn)


class _Submodule:
    """The context of a submodule; a class, because a pass enters hundreds and a generator takes three times as long."""

    __slots__ = ("name", "outer", "recorder")

    def __init__(self, recorder: Recorder, name: str) -> None:
        self.recorder, self.name, self.outer = recorder, name, recorder.scope

    def __enter__(self) -> None:
        if self.name:
            self.recorder.scope = (*self.outer, self.name)

    def __exit__(self, *_: object) -> None:
        self.recorder.scope = self.outer


class Recorder:
    """Records the operations of an encoder, part by part.

    Args:
        item_bytes: bytes of a number in the dtype of the pass.
        autocast_bytes: bytes of a number in products, where autocast gives them another type.
        half_to_float: whether softmax widens the type of products in its own kernel (float16), without a copy.
        training: whether autograd is on; some kernels then have more outputs.
        holds_graph: whether a result that nothing reads holds what autograd has saved for it: in training.
        makes_graph: whether nodes are made, from which a backward can be run.
        in_training_mode: whether modules are in training mode, as `module.train()` sets it: in a training step of an encoder
            whose code depends on it.
        target: where it runs, which decides the kernels of fused attention.
    """

    def __init__(
        self,
        item_bytes: int,
        *,
        autocast_bytes: int | None = None,
        half_to_float: bool = False,
        training: bool = False,
        holds_graph: bool = False,
        makes_graph: bool = True,
        in_training_mode: bool = False,
        target: Target = AMPERE,
    ) -> None:
        self.item_bytes = item_bytes
        self.autocast_bytes = autocast_bytes
        self.half_to_float = half_to_float
        self.training = training
        self.holds_graph = holds_graph
        self.makes_graph = makes_graph
        self.in_training_mode = in_training_mode
        self.target = target
        self.ops: list[Op] = []
        self.copied: list[tuple[int, Copy]] = []  # each with the number of the operation that comes after it
        self.buffers: list[Buffer] = []
        self.only_first: list[tuple[int, tuple[Op, ...]]] = []
        self.scope: tuple[str, ...] = ()
        self.unrecorded: list[Parameter] = []
        self.last_used: tuple[Storage, ...] = ()  # inputs of this part that no later part uses
        self.trains = True
        self.adapters_train = True
        self._forget()

    def recording(self, *, is_checkpointed: bool = False) -> Recording:
        """The operations that have been recorded since the last recording.

        Those of a checkpointed block are of its first forward, whose results do not hold a graph.
        """
        ops, self.ops = tuple(self.ops), []
        copied, self.copied = self.copied, []
        cached = tuple(copy.storage for copy in self.copies.values())
        buffers, self.buffers = tuple(self.buffers), []
        only_first, self.only_first = tuple(self.only_first), []
        unread, registered = self.unread, self.registered
        self._forget()
        recording = Recording(ops, cached, buffers, unread, registered, only_first)
        recording = recording.with_copies(copied) if copied else recording
        return recording.with_graphs() if self.holds_graph and not is_checkpointed else recording

    def _forget(self) -> None:
        """Start anew: weights of the next part have the same names, but are other weights."""
        self.recorded: set[str] = set()
        self.registered: dict[str, tuple[str, ...]] = {}
        self.leaves: dict[str, Edge] = {}
        self.unread: dict[Storage, tuple[Storage, ...]] = {}  # see `graph_of`
        self.copies: dict[str, Tensor] = {}  # autocast's copies of weights, kept until the forward ends

    def module(self, name: str) -> AbstractContextManager[None]:
        """Operations in this context belong to the submodule `name`."""
        return _Submodule(self, name)

    def registers(self, *names: str) -> None:
        """The current module registers its submodules and weights in this order, and not in the order of use."""
        self.registered[_names(self.scope, "")[1]] = names

    @contextmanager
    def weights(self, *, train: bool, adapters_train: bool | None = None) -> Iterator[None]:
        """Weights in this context are trained, or frozen; where it is given, `adapters_train` says so for `adapters`."""
        outer = self.trains, self.adapters_train
        self.trains = train
        self.adapters_train = self.adapters_train if adapters_train is None else adapters_train
        try:
            yield
        finally:
            self.trains, self.adapters_train = outer

    @contextmanager
    def without_autocast(self) -> Iterator[None]:
        """Operations in this context run in the types of their operands."""
        outer, self.autocast_bytes = self.autocast_bytes, None
        try:
            yield
        finally:
            self.autocast_bytes = outer

    def adapters(self) -> AbstractContextManager[None]:
        """Weights in this context adapt others: they are trained if the others are, or if the run trains adapters."""
        return self.weights(train=self.trains or self.adapters_train)

    def entered(self, x: Tensor) -> Tensor:
        """`x` as an input of what is recorded from now on. If it needs a gradient, a backward ends there."""
        if x.grad_fn is None:
            return x
        return x.made_by((Node(None), 0) if self.makes_graph else NO_GRAPH)

    def tensor(self, *shape: Dim) -> Tensor:
        """A contiguous tensor with its own memory, whose allocation is not recorded."""
        return _row_major_tensor(shape, self.item_bytes)

    def tensor_like(self, x: Tensor) -> Tensor:
        """A tensor of the shape, type and memory order of `x`, with its own memory."""
        return self.copy_of(x, x.item_bytes)

    def free(self, *tensors: Tensor, keep: Tensor | None = None) -> None:
        """Free the storages of `tensors`, except the storage of `keep`."""
        kept = None if keep is None else keep.storage
        storages = dict.fromkeys([tensor.storage for tensor in tensors if tensor.storage is not kept])
        self.free_storages(*storages)

    def free_storages(self, *storages: Storage) -> None:
        """Free `storages`: their last references are dropped."""
        if not storages:
            return
        module, name = _names(self.scope, "free")
        parameters = self._first_used(()) if self.unrecorded else ()
        self.ops.append(_op(name, "free", module, 0, 0, parameters, 0, 0, (), (), storages))

    def copy(self, template: Template, own: tuple[Storage, ...]) -> None:
        """Record the operations of a template with other storages."""
        from .copies import Copy

        self.copied.append((len(self.ops), Copy(template, own)))

    def let_go(self, *taps: Tensor) -> None:
        """The encoder's forward drops the inputs of this part here, except `taps`: those that no later part uses are freed."""
        kept = {tap.storage for tap in taps}
        self.free_storages(*(storage for storage in self.last_used if storage not in kept))
        self.last_used = tuple(storage for storage in self.last_used if storage in kept)

    def let_go_of(self, *inputs: Tensor) -> None:
        """The encoder's forward drops these inputs of this part here: those that no later part uses are freed."""
        dropped = {each.storage for each in inputs}
        self.free_storages(*(storage for storage in self.last_used if storage in dropped))
        self.last_used = tuple(storage for storage in self.last_used if storage not in dropped)

    @property
    def last(self) -> int:
        """The number of the last operation of this part."""
        return len(self.ops) - 1

    def replaced_in_cache(self, x: Tensor, number: int) -> None:
        """Code caches `x` until the operation with this `number` of the next pass, in which another result replaces it."""
        self.ops[number] = replace(self.ops[number], frees_last=(x.storage,))

    @contextmanager
    def in_first_forward(self) -> Iterator[None]:
        """The first forward alone runs the operations of this context; see `cached_for_good`."""
        outer, self.ops = self.ops, []
        copied, self.copied = self.copied, []
        try:
            yield
        finally:
            before = len(outer) + sum(len(copy.template.ops) for _, copy in copied)
            self.only_first.append((before, Recording(tuple(self.ops)).with_copies(self.copied).ops))
            self.ops, self.copied = outer, copied

    def cached_for_good(self, x: Tensor) -> None:
        """Code of the current module caches `x`, which the first forward has made, and never frees it."""
        self.buffers.append(Buffer(".".join(self.scope), x.nbytes, x.item_bytes, x.storage))

    def holds_graph_of(self, x: Tensor, *kept: Storage) -> None:
        """`x`, which enters this part, holds a graph that nothing else does: what it keeps is freed with it."""
        self.unread[x.storage] = kept

    def graph_of(self, unread: Tensor, *saved: Tensor) -> None:
        """Autograd saves tensors for a result that nothing reads: they are freed with it, if it holds its graph."""
        self.unread[unread.storage] = tuple(tensor.storage for tensor in saved)

    def parameter(self, name: str, *shape: Dim) -> Parameter:
        """A weight of the current module, for the operation that uses it."""
        return _parameter(_names(self.scope, name)[1], shape, self.trains)

    def record(
        self,
        name: str,
        kind: str,
        *,
        reads: tuple[Tensor, ...] = (),
        writes: tuple[Tensor, ...] = (),
        parameters: tuple[Parameter, ...] = (),
        macs: Dim = 0,
        elementwise_flops: Dim = 0,
        frees: tuple[Storage, ...] = (),
        workspace_bytes: Dim = 0,
        scores: Dim = 0,
        entering: Shape | None = None,
        leaving: Shape | None = None,
        call: str = "",
        choice: Choice | None = None,
        layout: InputLayout | None = None,
        strides: tuple[Shape, ...] | None = None,
        adds_bias: bool = False,
    ) -> None:
        """Append an operation of the current module. A weight is recorded at the operation that first uses it.

        By default `entering` and `leaving` are the shapes of the first of `reads` and of `writes`, and `strides` those of
        `reads` for the kinds of `LAID_OUT`.
        """
        module, full_name = _names(self.scope, name)
        if entering is None:
            entering = reads[0].shape if reads else ()
        if leaving is None:
            leaving = writes[0].shape if writes else entering
        if strides is None:
            strides = tuple([tensor.stride for tensor in reads]) if kind in LAID_OUT else ()
        bytes_read: Dim = 0
        bytes_written: Dim = 0
        read, written = [], []
        for tensor in reads:
            if tensor.steps is None:  # as most are, whose bytes are all distinct
                bytes_read = bytes_read + prod(tensor.shape) * tensor.item_bytes
            else:
                bytes_read = bytes_read + tensor.distinct_bytes
            read.append(tensor.storage)
        for tensor in writes:
            bytes_written = bytes_written + prod(tensor.shape) * tensor.item_bytes
            written.append(tensor.storage)
        op = _op(
            full_name,
            kind,
            module,
            macs,
            elementwise_flops,
            self._first_used(parameters) if parameters or self.unrecorded else (),
            bytes_read,
            bytes_written,
            tuple(read),
            tuple(written),
            frees,
            (),
            False,  # is_kept
            workspace_bytes,
            scores,
            entering,
            leaving,
            call,
            strides,
            choice,
            (),
            layout,
            adds_bias,
        )
        self.ops.append(op)

    def _first_used(self, parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
        """Those of `parameters`, and of weights that wait for an operation, that no operation has used yet."""
        recorded = self.recorded
        used = [weight for weight in (*self.unrecorded, *parameters) if weight.name not in recorded]
        recorded.update([weight.name for weight in used])
        self.unrecorded = []
        return tuple(used)

    def product(
        self,
        name: str,
        kind: str,
        a: Tensor,
        b: Tensor,
        call: str = "",
        *,
        scores: bool = False,
        choice: Choice | None = None,
    ) -> Tensor:
        """A matrix product, for `scores` of queries and keys: (..., m, k) @ (..., k, n) -> (..., m, n)."""
        out = self.like(a, *a.shape[:-1], b.shape[-1])
        elements = prod(out.shape)
        macs, pairs = elements * a.shape[-1], elements if scores else 0
        self.record(
            name, kind, reads=(a, b), writes=(out,), macs=macs, scores=pairs, call=call, choice=choice
        )
        return out

    def make(
        self,
        name: str,
        kind: str,
        reads: tuple[Tensor, ...],
        *shapes: Shape,
        macs: Dim = 0,
        like: Tensor | None = None,
        layout: InputLayout | None = None,
    ) -> tuple[Tensor, ...]:
        """An operation with contiguous results of `shapes`, in the type of `like` or of the first operand."""
        item_bytes = (like or reads[0]).item_bytes
        results = tuple([_row_major_tensor(shape, item_bytes) for shape in shapes])
        flops = ELEMENTWISE_FLOPS.get(kind, 0) * (prod(reads[0].shape) if reads else 0)
        self.record(
            name,
            kind,
            reads=reads,
            writes=results,
            macs=macs,
            elementwise_flops=flops,
            layout=layout,
        )
        return results

    def elementwise(
        self, name: str, kind: str, x: Tensor, *others: Tensor, parameters: tuple[Parameter, ...] = ()
    ) -> Tensor:
        """An elementwise operation on `x` and tensors that broadcast to it; the result has the shape of `x`."""
        item_bytes = x.item_bytes
        for other in others:
            item_bytes = max(item_bytes, other.item_bytes)  # the wider type wins
        if x.is_contiguous:
            out = _row_major_tensor(x.shape, item_bytes)
        else:
            stride = dense_stride_like(x, *[other.expanded(x.shape) for other in others])
            out = self.new(x.shape, stride, item_bytes)
        flops = ELEMENTWISE_FLOPS[kind] * prod(x.shape)
        self.record(
            name, kind, reads=(x, *others), writes=(out,), parameters=parameters, elementwise_flops=flops
        )
        return out

    def sum_to(self, name: str, x: Tensor, shape: Shape) -> Tensor:
        """`x` summed to a shape that broadcasts to its own; `x` itself if it has that shape."""
        if shape is x.shape:
            return x
        leading = len(x.shape) - len(shape)
        kept = tuple(
            1 if dim < leading or (shape[dim - leading] == 1 and size != 1) else size
            for dim, size in enumerate(x.shape)
        )
        if not leading and kept == x.shape:
            return x
        (out,) = self.make(name, "sum", (x,), kept)
        return out.view(*shape) if leading else out

    def weight(self, parameter: Parameter) -> Tensor:
        """A weight as a tensor, whose memory belongs to the encoder; a frozen weight needs no gradient."""
        edge = NO_GRAPH if parameter.trains else None
        if parameter.trains and self.makes_graph:
            edge = self.leaves.get(parameter.name)
            if edge is None:
                edge = self.leaves[parameter.name] = leaf(parameter.shape)
        return _row_major_tensor(parameter.shape, self.item_bytes, edge, is_weight=True)

    def used_weight(self, name: str, *shape: Dim) -> Tensor:
        """A weight of the current module as a tensor; the next recorded operation is the first to use it."""
        parameter = self.parameter(name, *shape)
        self.unrecorded.append(parameter)
        return self.weight(parameter)

    def unused_weight(self, name: str, *shape: Dim) -> None:
        """A weight of the current module that no operation uses: it takes memory, and never has a gradient."""
        with self.weights(train=False):
            self.record(name, "unused", parameters=(self.parameter(name, *shape),))

    def buffer(self, *shape: Dim, item_bytes: int | None = None) -> Tensor:
        """A buffer of the encoder; it needs no gradient."""
        x = self._resident(shape, item_bytes or self.item_bytes)
        self.buffers.append(Buffer(".".join(self.scope), x.nbytes, x.item_bytes))
        return x

    def on_host(self, *shape: Dim) -> Tensor:
        """An int64 tensor in the memory of the host, which does not count."""
        storage = Storage(prod(shape) * INT64_BYTES, is_weight=True, is_on_host=True)
        return Tensor(shape, contiguous_stride(shape), storage, INT64_BYTES)

    def resident(self, shape: Shape) -> Tensor:
        """A tensor that is in memory before and after the pass."""
        return self._resident(shape, self.item_bytes)

    @staticmethod
    def _resident(shape: Shape, item_bytes: int, grad_fn: Edge | None = None) -> Tensor:
        return _row_major_tensor(shape, item_bytes, grad_fn, is_weight=True)

    def like(self, x: Tensor, *shape: Dim) -> Tensor:
        """A contiguous tensor of the type of `x`."""
        return _row_major_tensor(shape, x.item_bytes)

    @staticmethod
    def contiguous_of(shape: Shape, item_bytes: int) -> Tensor:
        """A contiguous tensor with its own memory."""
        return _row_major_tensor(shape, item_bytes)

    def copy_of(self, x: Tensor, item_bytes: int) -> Tensor:
        """A tensor for a clone of `x` or a copy in another type, with its own memory."""
        if x.steps is None:
            return _row_major_tensor(x.shape, item_bytes)
        return self.new(x.shape, copied_stride(x), item_bytes)

    def new(self, shape: Shape, stride: Shape, item_bytes: int) -> Tensor:
        """A tensor with its own memory."""
        return _tensor(shape, stride, _storage(prod(shape) * item_bytes), item_bytes)

    def derived(
        self,
        name: str,
        out: Tensor,
        operands: tuple[Tensor, ...],
        backward: Backward,
        given: tuple[Any, ...] = (),
        *,
        saves: tuple[Tensor, ...] = (),
    ) -> Tensor:
        """`out` with its node in autograd's graph; `out` itself, with nothing saved, if no operand needs a gradient.

        Args:
            name: of the operation that made `out`, which must be the last that is recorded, apart from frees.
            out: its result.
            operands: get the gradients, in the order of `backward`.
            backward: its derivative.
            given: what that takes after the gradient.
            saves: tensors that autograd keeps for it.
        """
        edges = tuple([operand.grad_fn for operand in operands])
        if not any(edges):
            return out
        saved = self._save(out.storage, saves) if saves else ()
        if not self.makes_graph:
            return out.made_by(NO_GRAPH)
        scope = (*self.scope, name) if name else self.scope
        return out.made_by((_node(backward, edges, given, saved, bool(saves), scope), 0))

    def _save(self, result: Storage, saves: tuple[Tensor, ...]) -> tuple[Storage, ...]:
        """Add the storages that autograd keeps to the operation that allocated `result`, and return those of `saves`."""
        saved: list[Storage] = []
        for tensor in saves:
            storage = tensor.storage
            if not storage.is_weight and storage not in saved:
                saved.append(storage)
        kept = tuple(saved)
        op = self.ops[-1]
        if result not in op.allocates:
            op = next(op for op in reversed(self.ops) if result in op.allocates)
        op.keep(kept)
        return kept
