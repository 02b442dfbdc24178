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
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..encoder.model import Phase, Section
from ..units import rounded
from .convolution import is_grouped_backward, of_grouped_backward
from .cuda import AsOnCuda, steps_on_cuda
from .encoder import ImageEncoder, in_tuple, nothing
from .gradients import Uses, in_place, uses_of_the_last_holder
from .meta import run_on_meta
from .sections import on_entering_parts
from .versions import as_in_torch_2_13


@dataclass
class PartTrace:
    """The trace of a part or block.

    Attributes:
        start_bytes: bytes live at its start.
        allocations: bytes of each allocation, as asked for.
        live: bytes live after each allocation, minus those at the start.
        products: FLOPs of each matrix product and convolution.
        change: bytes live at its end, minus those at the start.
    """

    start_bytes: int
    allocations: list[int] = field(default_factory=list)
    live: list[int] = field(default_factory=list)
    products: list[int] = field(default_factory=list)
    change: int = 0

    @property
    def peak_bytes(self) -> int:
        """The most bytes live at once."""
        return self.start_bytes + max(self.live, default=0)


class Tracer(TorchDispatchMode):
    """Follows each operation: the storages that it makes, until they are freed, and its FLOPs by torch's own formulas.

    Args:
        device: type of device whose storages count ("meta").
        live: bytes live before the pass: weights and input.
    """

    def __init__(self, device: str, live: int) -> None:
        super().__init__()
        self.device = device
        self.live = live
        self.sections: dict[Section, PartTrace] = {}
        self.alone: Uses | None = None  # set while a backward is traced
        self._part = PartTrace(live)
        self._known: set[int] = set()
        self._gradients: set[int] = set()  # of weights, to which others are added
        self._live_at_end = live  # of the forward

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
        if in_steps := steps_on_cuda(func):
            with self:
                return in_steps(*args, **kwargs)
        result = in_place(func, args, self.alone, self._is_gradient) if self.alone else None
        if result is None:
            result = as_in_torch_2_13(func, args, run_on_meta(func, args, kwargs))
        if formula := flop_registry.get(func.overloadpacket):
            count = of_grouped_backward if is_grouped_backward(func, args) else formula
            flops = int(count(*args, **kwargs, out_val=result))
            # the gradient of a convolution's bias alone is not a product
            self._part.products += [flops] if flops else []
        for tensor in _pytree.tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.device.type == self.device:
                self._note(tensor)
        return result

    def _is_gradient(self, tensor: Tensor) -> bool:
        return bool(self._gradients) and storage_key(tensor) in self._gradients

    def _note(self, tensor: Tensor) -> None:
        key = storage_key(tensor)
        if key in self._known:
            return
        storage = tensor.untyped_storage()
        nbytes = rounded(storage.nbytes())
        self._part.allocations.append(storage.nbytes())
        self._known.add(key)
        self.live += nbytes
        self._part.live.append(self.live - self._part.start_bytes)
        weakref.finalize(storage, self._freed, key, nbytes)

    def _freed(self, key: int, nbytes: int) -> None:
        self._known.discard(key)
        self.live -= nbytes


def trace_forward(
    model: ImageEncoder, image: Tensor, weights_bytes: int, *, grad: bool = False
) -> dict[str, PartTrace]:
    """Trace an inference forward of `model`, part by part. The last part ends when only the output is left.

    Args:
        model: the encoder on the meta device; repeated blocks may be identities.
        image: its input.
        weights_bytes: memory of the weights and buffers of the whole encoder.
        grad: whether autograd is on, and keeps what it saves.
    """
    mode = Tracer(image.device.type, weights_bytes + rounded(image.nbytes))
    mode.ignore(*model.parameters(), *model.buffers(), image)
    with torch.set_grad_enabled(grad), AsOnCuda.of(model), mode, _forward_of(model, mode):
        output = model(image)
        mode.leave_forward()
    del output
    return mode.parts_in("forward")


def trace_saved(model: ImageEncoder, image: Tensor) -> dict[str, int]:
    """Bytes that autograd keeps for backward, for each part and block of `model`, without weights and buffers.

    A checkpointed block keeps its input, if it would keep anything at all.
    """
    weights = {storage_key(weight) for weight in (*model.parameters(), *model.buffers())}
    kept: list[tuple[str, weakref.ref[_Kept]]] = []
    parts: list[str] = []

    def enter(section: Section) -> None:
        parts.append(section[0])

    def counts(tensor: Tensor) -> bool:
        return tensor.device == image.device and storage_key(tensor) not in weights

    def pack(tensor: Tensor) -> _Kept:
        saved = _Kept(tensor.detach())  # an output that its own node keeps would keep that node
        if counts(tensor):
            kept.append((parts[-1], weakref.ref(saved)))
        return saved

    def claim(*inputs: Tensor) -> None:
        """The checkpoint saved these just before its block began, so they count for the block."""
        before = len(kept) - sum(map(counts, inputs))
        kept[before:] = [(parts[-1], ref) for _, ref in kept[before:]]

    with (
        torch.enable_grad(),
        AsOnCuda.of(model),
        saved_tensors_hooks(pack, lambda saved: saved.tensor),
        on_entering_parts(model, enter),
        _on_checkpointed_inputs(model, claim),
    ):
        output = model(image)
    sums = {
        part: sum(map(rounded, _alive(ref for name, ref in kept if name == part).values())) for part in parts
    }
    del output  # and with it the graph and everything that it kept
    return sums


@dataclass(eq=False)
class _Kept:
    """A tensor that autograd keeps; it lives as long as autograd keeps it."""

    tensor: Tensor


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


def trace_training(
    model: ImageEncoder, image: Tensor, live: int, *, accumulates: bool = False, moves: bool = False
) -> tuple[dict[str, PartTrace], dict[str, PartTrace]]:
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
        with _forward_of(model, mode):
            output = model(image)
        mode.leave_forward()
        mode.alone = alone
        kept = backward_of(output)
        mode.leave()
    del kept
    for hook in hooks:
        hook.remove()
    model.zero_grad(set_to_none=True)
    forward, backward = mode.parts_in("forward"), mode.parts_in("backward")
    return forward, {name: backward.get(name, PartTrace(live)) for name in forward}


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
