"""Traces the real stack on meta tensors, operation by operation: it sees every allocation, without arithmetic or memory.

A dispatch mode sees each tensor that an operation makes. A finalizer on its storage reports when its last reference is gone.
Autograd's saved-tensor hooks report what it keeps for backward.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..encoder.model import Phase, Section
from ..units import rounded
from ..verdicts import Counts
from .convolution import is_grouped_backward, of_grouped_backward
from .count import counting_flops
from .cuda import AsOnCuda, steps_on_cuda
from .encoder import ImageEncoder, in_tuple, nothing
from .fold import Streams, watching
from .gradients import Uses, in_place, uses_of_the_last_holder
from .meta import remembered, run_remembered
from .sections import on_entering_parts
from .versions import change_of


@dataclass
class PartTrace:
    """The trace of a part or block.

    Attributes:
        start_bytes: bytes live at its start.
        allocations: bytes of each allocation, as asked for.
        live: bytes live after each allocation, minus those at the start.
        products: FLOPs of each matrix product and convolution.
        change: bytes live at its end, minus those at the start.
        ran: which operations ran, on which layouts: see `run_remembered`.
    """

    start_bytes: int
    allocations: list[int] = field(default_factory=list)
    live: list[int] = field(default_factory=list)
    products: list[int] = field(default_factory=list)
    change: int = 0
    ran: list[Any] = field(default_factory=list, repr=False)

    @property
    def peak_bytes(self) -> int:
        """The most bytes live at once."""
        return self.start_bytes + max(self.live, default=0)


class Tracer(TorchDispatchMode):
    """Follows each operation: the storages that it makes, until they are freed, and its FLOPs by torch's own formulas.

    Args:
        device: type of device whose storages count ("meta").
        live: bytes live before the pass: weights and input.
        shows_products: whether modes below this one see products. They see nothing else.
    """

    def __init__(self, device: str, live: int, *, shows_products: bool = False) -> None:
        super().__init__()
        self.device = device
        self.shows_products = shows_products
        self.live = live
        self.sections: dict[Section, PartTrace] = {}
        self.alone: Uses | None = None  # set while a backward is traced
        self._part = PartTrace(live)
        self._known: set[int] = set()
        self._watched: dict[int, _Watched] = {}
        self._products: dict[Any, int] = {}  # FLOPs by what `run_remembered` says that an operation is
        self._gradients: set[int] = set()  # of weights, to which others are added
        self._live_at_end = live  # of the forward

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave out the layer that keeps torch's compiler out, since nothing is compiled here: it is called for each operation."""
        return False

    def enter(self, section: Section) -> None:
        """`section` begins. With several outputs, the gradient of each calls this."""
        if self.sections.get(section) is self._part:
            return
        self.leave()
        self.sections[section] = self._part

    def leave(self) -> None:
        """The section ends."""
        self._part.change = self.live - self._part.start_bytes
        self._part = PartTrace(self.live)

    def end_forward(self) -> None:
        """The forward is over but for autocast's copies of weights, which are freed next and do not count."""
        self._live_at_end = self.live

    def leave_forward(self) -> None:
        """The forward has ended, and the part that ran last with it."""
        self._part.change = self._live_at_end - self._part.start_bytes
        self._part = PartTrace(self.live)

    def parts_in(self, phase: Phase) -> dict[str, PartTrace]:
        """The parts and blocks in one phase of the pass."""
        return {name: part for (name, entered), part in self.sections.items() if entered == phase}

    def ignore(self, *tensors: Tensor) -> None:
        """Do not count `tensors`, which `live` includes already."""
        self._known |= {storage_key(tensor) for tensor in tensors}

    def accumulates_into(self, gradients: Iterable[Tensor]) -> None:
        """Add to these gradients in place, as the engine does outside of a dispatch mode."""
        self._gradients = {storage_key(gradient) for gradient in gradients}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and note its results."""
        kwargs = kwargs or {}
        operation = _OPERATIONS.get(id(func)) or _operation(func)
        if operation.in_steps:
            with self:
                return operation.in_steps(*args, **kwargs)
        with torch._C.DisableTorchFunction():  # a backward would run AsOnCuda for each attribute of a tensor
            result = in_place(func, args, self.alone, self._is_gradient) if self.alone else None
            if result is None:
                result = self._run(func, operation, args, kwargs)
            if operation.formula and (flops := self._flops(func, operation.formula, args, kwargs, result)):
                self._part.products.append(
                    flops
                )  # the gradient of a convolution's bias alone is not a product
            for tensor in (result,) if isinstance(result, Tensor) else _pytree.tree_leaves(result):
                if isinstance(tensor, Tensor) and tensor.device.type == self.device:
                    self._note(tensor)
        return result

    def _run(self, func: Any, operation: _Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run the operation, by the modes below this one if they count it; note which it was."""
        if self.shows_products and operation.may_be_product:
            result = func(*args, **kwargs)
            self._part.ran.append(remembered(func, args, kwargs))
            return result
        with torch._C._DisableTorchDispatch():
            result, which = run_remembered(func, args, kwargs)
            self._part.ran.append(which)
            return operation.change(args, result) if operation.change else result

    def _flops(
        self,
        func: Any,
        formula: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        result: Any,
    ) -> int:
        """The FLOPs of the operation that was just run; those of the same operation on the same layouts are counted once."""
        which = self._part.ran[-1]
        if which in self._products:
            return self._products[which]
        count = of_grouped_backward if is_grouped_backward(func, args) else formula
        flops = int(count(*args, **kwargs, out_val=result))
        if which is not func:
            self._products[which] = flops
        return flops

    def _is_gradient(self, tensor: Tensor) -> bool:
        return bool(self._gradients) and storage_key(tensor) in self._gradients

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = int(storage._cdata)
        if key in self._known:
            return
        asked = storage.nbytes()
        nbytes = rounded(asked)
        part = self._part
        part.allocations.append(asked)
        self._known.add(key)
        self.live += nbytes
        part.live.append(self.live - part.start_bytes)
        watched = self._watched[key] = _Watched(storage, self._freed)
        watched.key, watched.nbytes = key, nbytes

    def _freed(self, storage: _Watched) -> None:
        self._known.discard(storage.key)
        self._watched.pop(storage.key, None)
        self.live -= storage.nbytes


class _Watched(weakref.ref[Any]):
    """A storage that is live: what identifies it, and its bytes."""

    __slots__ = ("key", "nbytes")
    key: int
    nbytes: int


class _Operation(NamedTuple):
    """What is known of an operation of ATen.

    Attributes:
        in_steps: does what the operation does on CUDA, if that differs on meta.
        change: makes its results those of torch 2.13.0, if they differ.
        formula: torch's own for the FLOPs of a product.
        may_be_product: whether FlopCounterMode counts it, or takes it apart to see.
    """

    in_steps: Callable[..., Any] | None
    change: Callable[..., Any] | None
    formula: Callable[..., Any] | None
    may_be_product: bool


_OPERATIONS: dict[int, _Operation] = {}
"""By the `id` of an operation, which is its own for as long as Python runs."""


def _operation(func: Any) -> _Operation:
    formula = flop_registry.get(func.overloadpacket)
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    made = _Operation(steps_on_cuda(func), change_of(func), formula, bool(formula) or composite)
    _OPERATIONS[id(func)] = made
    return made


def trace_forward(
    model: ImageEncoder,
    image: Tensor,
    weights_bytes: int,
    *,
    grad: bool = False,
    shows_products: bool = False,
) -> dict[str, PartTrace]:
    """Trace an inference forward of `model`, part by part. The last part ends when only the output is left.

    Args:
        model: the encoder on the meta device; repeated blocks may be identities.
        image: its input.
        weights_bytes: memory of the weights and buffers of the whole encoder.
        grad: whether autograd is on, and keeps what it saves.
        shows_products: whether modes around this call are to see the products.
    """
    live = weights_bytes + rounded(image.nbytes)
    mode = Tracer(image.device.type, live, shows_products=shows_products)
    mode.ignore(*model.parameters(), *model.buffers(), image)
    with torch.set_grad_enabled(grad), AsOnCuda.of(model), mode, _forward_of(model, mode):
        output = model(image)
        mode.leave_forward()
    del output
    return mode.parts_in("forward")


class CountedForward(NamedTuple):
    """One inference forward, that was traced and counted at once.

    Attributes:
        parts: the trace of each part.
        counts: those of FlopCounterMode.
        streams: the layouts of each block's input and output.
    """

    parts: dict[str, PartTrace]
    counts: Counts
    streams: Streams


def trace_and_count(model: ImageEncoder, image: Tensor, weights_bytes: int) -> CountedForward:
    """Trace an inference forward of `model` as `trace_forward` does, in which FlopCounterMode counts too."""
    with watching(model) as streams, counting_flops(model) as counts:
        parts = trace_forward(model, image, weights_bytes, shows_products=True)
    return CountedForward(parts, counts, streams)


class Saved:
    """Follows what autograd keeps for backward in a forward."""

    def __init__(self, model: ImageEncoder, image: Tensor) -> None:
        self._device = image.device
        self._weights = {storage_key(weight) for weight in (*model.parameters(), *model.buffers())}
        self._kept: list[tuple[str, weakref.ref[_Kept]]] = []
        self._parts: list[str] = []

    @classmethod
    @contextmanager
    def of(cls, model: ImageEncoder, image: Tensor) -> Iterator[Saved]:
        """Follow what is kept within this context."""
        saved = cls(model, image)
        with (
            saved_tensors_hooks(saved._pack, lambda kept: kept.tensor),
            on_entering_parts(model, saved._enter),
            _on_checkpointed_inputs(model, saved._claim),
        ):
            yield saved

    def bytes_of_parts(self) -> dict[str, int]:
        """Bytes kept for each part; call it while the output lives."""
        kept: dict[str, list[weakref.ref[_Kept]]] = {part: [] for part in self._parts}
        for part, ref in self._kept:
            kept[part].append(ref)
        return {part: sum(map(rounded, _alive(refs).values())) for part, refs in kept.items()}

    def _enter(self, section: Section) -> None:
        self._parts.append(section[0])

    def _pack(self, tensor: Tensor) -> _Kept:
        with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
            saved = _Kept(tensor.detach())  # an output that its own node keeps would keep that node
            if self._counts(tensor):
                self._kept.append((self._parts[-1], weakref.ref(saved)))
        return saved

    def _counts(self, tensor: Tensor) -> bool:
        return tensor.device == self._device and storage_key(tensor) not in self._weights

    def _claim(self, *inputs: Tensor) -> None:
        """The checkpoint saved these just before its block began, so they count for the block."""
        before = len(self._kept) - sum(map(self._counts, inputs))
        self._kept[before:] = [(self._parts[-1], ref) for _, ref in self._kept[before:]]


class _Kept:
    """A tensor that autograd keeps; it lives as long as autograd keeps it."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def _alive(kept: Iterable[weakref.ref[_Kept]]) -> dict[int, int]:
    """The storages of tensors that are still kept, and their bytes."""
    tensors = [saved.tensor for ref in kept if (saved := ref())]
    return {storage_key(tensor): tensor.untyped_storage().nbytes() for tensor in tensors}


@contextmanager
def _on_checkpointed_inputs(model: ImageEncoder, see: Callable[..., None]) -> Iterator[None]:
    """Call `see` with the inputs of each checkpointed block."""
    blocks = map(model.get_submodule, model.begin_checkpoints)
    handles = [block.register_forward_pre_hook(partial(_show, see)) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class TrainingTrace(NamedTuple):
    """The traces of a forward in which autograd saves tensors and of its backward, by part.

    Attributes:
        forward: the forward.
        backward: the backward.
        saved_bytes: what autograd keeps between them, without weights and buffers. A checkpointed block keeps its input, if
            it would keep anything at all.
    """

    forward: dict[str, PartTrace]
    backward: dict[str, PartTrace]
    saved_bytes: dict[str, int]


def trace_training(
    model: ImageEncoder, image: Tensor, live: int, *, accumulates: bool = False, moves: bool = False
) -> TrainingTrace:
    """Trace a forward in which autograd saves tensors, and its backward, part by part.

    A part before everything that trains has no backward; its trace is empty.

    Args:
        model: the encoder on the meta device; repeated blocks may be identities.
        image: its input.
        live: bytes live before the pass: weights, optimizer state, the image.
        accumulates: whether a pass before it has left gradients, to which its own are added.
        moves: whether each gradient of a weight is freed as soon as it is complete, because it is moved to DDP's buckets.
    """
    alone = uses_of_the_last_holder()
    mode = Tracer(image.device.type, live)
    if accumulates:
        with torch.enable_grad(), AsOnCuda.of(model):
            backward_of(model(image))
    held = [weight.grad for weight in model.parameters() if weight.grad is not None]
    mode.ignore(*model.parameters(), *model.buffers(), image, *held)
    mode.accumulates_into(held)
    weights = [weight for weight in model.parameters() if weight.requires_grad and moves and not accumulates]
    hooks = [weight.register_post_accumulate_grad_hook(_drop_gradient) for weight in weights]
    with torch.enable_grad(), AsOnCuda.of(model), mode:
        with _forward_of(model, mode), Saved.of(model, image) as saved:
            output = model(image)
            saved_bytes = saved.bytes_of_parts()
        mode.leave_forward()
        mode.alone = alone
        kept = backward_of(output)
        mode.leave()
    del kept
    for hook in hooks:
        hook.remove()
    model.zero_grad(set_to_none=True)
    forward, backward = mode.parts_in("forward"), mode.parts_in("backward")
    return TrainingTrace(
        forward, {name: backward.get(name, PartTrace(live)) for name in forward}, saved_bytes
    )


def _drop_gradient(weight: Tensor) -> None:
    weight.grad = None


def backward_of(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Run the backward from a gradient of each output that takes one, as torch.autograd.backward would; returns these.

    That one would switch the function mode off.
    """
    outputs = tuple(each for each in in_tuple(output) if each.requires_grad)
    gradients = tuple(map(torch.empty_like, outputs))
    torch.autograd.Variable._execution_engine.run_backward(
        outputs, gradients, False, False, (), allow_unreachable=True, accumulate_grad=True
    )
    return gradients


@contextmanager
def _forward_of(model: ImageEncoder, mode: Tracer) -> Iterator[None]:
    """Call `mode` as each part of a forward begins, and as the forward ends."""
    model.at_the_end = mode.end_forward
    try:
        with on_entering_parts(model, mode.enter):
            yield
    finally:
        model.at_the_end = nothing


def _show(see: Callable[..., None], _module: Any, inputs: tuple[Tensor, ...]) -> None:
    see(*inputs)


def storage_key(tensor: Tensor) -> int:
    """A number that identifies the storage of a tensor among all that are live."""
    return int(tensor.untyped_storage()._cdata)  # its address: data_ptr is 0 on meta
