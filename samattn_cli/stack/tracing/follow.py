"""Records each operation of a run: its module, shapes and FLOPs, what it allocates, what is freed, what autograd keeps.

A module is found by hooks on all modules. An operation of backward belongs to the module that was running when its node of the
graph was made: nodes are numbered in that order.
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread, get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.utils import _pytree
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    is_traceable_wrapper_subclass,
    is_traceable_wrapper_subclass_type,
)
from torch.utils.flop_counter import flop_registry, mm_flop

from ...reports.trace import Phase, TracedAttention, TracedOp, TracedStorage
from ..convolution import is_grouped_backward, of_grouped_backward
from ..cuda import IN_ONE, random_state_on_host, steps_on_cuda
from ..gradients import Uses, in_place
from ..meta import run_on_meta
from ..trace import storage_key
from ..versions import as_in_torch_2_13
from .detail import detail_of

NO_NUMBER = 2**63
"""Nodes that add up the gradient of a weight have a number above this."""
BIASED = {"addmm": 1, "convolution": 0, "baddbmm": 1}
"""Products that may add a bias, and where their first operand is."""
FUSED = "_scaled_dot_product"


class Modules:
    """The module that is running, and, in backward, the module that ran when a node of the graph was made."""

    def __init__(self, root: nn.Module) -> None:
        self._names = {id(module): name for name, module in root.named_modules()}
        self._running = [""]
        self._numbers: list[int] = [-1]
        self._made_by: list[str] = [""]
        self._last = ""
        self._thread = get_ident()
        self.runs: Counter[str] = Counter()
        self.in_threads = False  # whether code ran in another thread

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow which module runs."""
        handles = (
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, always_call=True),
        )
        start = Thread.start

        def started(thread: Thread) -> None:
            self.in_threads = True
            start(thread)

        Thread.start = started  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            Thread.start = start  # type: ignore[method-assign]
            for handle in handles:
                handle.remove()

    @property
    def current(self) -> str:
        """The name of the module that an operation belongs to."""
        node = torch._C._current_autograd_node()
        if node is not None and len(self._running) == 1:
            number = node._sequence_nr()
            if number < NO_NUMBER:
                self._last = self._made_by[bisect_right(self._numbers, number) - 1]
            return self._last
        self._last = self._running[-1]
        return self._last

    def _enter(self, module: nn.Module, _: Any) -> None:
        if self._is_elsewhere():
            return
        self._running.append(self._names.get(id(module), self._running[-1]))
        self.runs[self._running[-1]] += id(module) in self._names
        self._mark()

    def _is_elsewhere(self) -> bool:
        """Whether this is another thread than the one that is followed."""
        elsewhere = get_ident() != self._thread
        self.in_threads |= elsewhere
        return elsewhere

    def _leave(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        if self._is_elsewhere():
            return
        self._running.pop()
        self._mark()

    def _mark(self) -> None:
        self._numbers.append(torch._C._autograd._get_sequence_nr())
        self._made_by.append(self._running[-1])


class _Op:
    """An operation while it is recorded."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.first = first
        self.allocates: list[TracedStorage] = []
        self.frees: list[int] = []
        self.saves: list[int] = []

    def finished(self) -> TracedOp:
        """What was recorded."""
        return TracedOp(
            **self.first,
            allocates=tuple(self.allocates),
            frees=tuple(self.frees),
            saves=tuple(self.saves),
        )


class Follower(TorchDispatchMode):
    """Follows each operation.

    Args:
        device: type of the device whose tensors count ("meta").
        modules: says which module an operation belongs to.
        weights: the weights, in order.
        resident: tensors that are in memory before the run: weights, buffers, inputs.
    """

    def __init__(
        self, device: str, modules: Modules, weights: Sequence[Tensor], resident: Sequence[Tensor]
    ) -> None:
        super().__init__()
        self.device = device
        self.modules = modules
        self.phase: Phase = "forward"
        self.alone: Uses | None = None  # set in backward
        self._weights = {
            storage_key(held): number for number, weight in enumerate(weights) for held in held_by(weight)
        }
        self._used: set[int] = set()
        self._known: dict[int, int] = {  # 0: not allocated here
            storage_key(held): 0 for tensor in resident for held in held_by(tensor)
        }
        self._kept: set[int] = set()
        self._ops: list[_Op] = []
        self._made = 0

    def finished(self) -> tuple[TracedOp, ...]:
        """The operations; what is freed from now on does not count."""
        ops, self._ops = self._ops, []
        return tuple(op.finished() for op in ops)

    def keeps(self, tensor: Tensor) -> None:
        """Autograd keeps a tensor for backward."""
        number = self._known.get(storage_key(tensor), 0)
        if number and number not in self._kept and self._ops:
            self._kept.add(number)
            self._ops[-1].saves.append(number)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and record it; one of a tensor that is held by others is told by the operations on those."""
        if any(map(is_traceable_wrapper_subclass_type, types)):
            return NotImplemented
        kwargs = kwargs or {}
        in_steps = steps_on_cuda(func) if self.device == "meta" else None
        if in_steps is not None and func not in IN_ONE:
            with self:
                return in_steps(*args, **kwargs)
        operands = [leaf for leaf in _pytree.arg_tree_leaves(*args, **kwargs) if isinstance(leaf, Tensor)]
        for operand in operands:
            if operand.device.type == self.device:
                self._known.setdefault(storage_key(operand), 0)
        result = in_place(func, args, self.alone) if self.alone else None
        if in_steps is not None:
            result = in_steps(*args, **kwargs)
        elif result is None and self.device == "meta":
            result = as_in_torch_2_13(func, args, run_on_meta(func, args, kwargs))
            result = random_state_on_host(func, args, result)
        elif result is None:
            result = func(*args, **kwargs)
        self._record(func, args, kwargs, operands, result)
        return result

    def _record(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], operands: list[Tensor], result: Any
    ) -> None:
        results = [leaf for leaf in _pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
        ours = [tensor for tensor in results if tensor.device.type == self.device]
        new = list({key: t for t in ours if (key := storage_key(t)) not in self._known}.values())
        if not new and (not func._schema.is_mutable or not ours):
            return  # a view, or something on the host
        name = func.overloadpacket.__name__
        first = operands[BIASED.get(name, 0) :] or operands
        op = _Op(
            {
                "name": name,
                "module": self.modules.current,
                "phase": self.phase,
                "flops": _flops(func, args, kwargs, result),
                "entering": tuple(first[0].shape) if first else (),
                "leaving": tuple(results[0].shape) if results else (),
                "bias": _has_bias(name, args),
                "bytes_read": sum(map(_nbytes, operands)),
                "bytes_written": sum(map(_nbytes, new or ours[:1])),
                "weights": self._first_uses(operands),
                "attention": _attention(name, args) if name.startswith(FUSED) else None,
                "detail": detail_of(name, args, operands),
            }
        )
        self._ops.append(op)
        for tensor in new:
            self._note(tensor, op)

    def _note(self, tensor: Tensor, op: _Op) -> None:
        self._made += 1
        storage, key = tensor.untyped_storage(), storage_key(tensor)
        self._known[key] = self._made
        is_index = tensor.dtype == torch.int64 and op.first["attention"] is None  # not a random state
        op.allocates.append(TracedStorage(self._made, storage.nbytes(), is_index))
        weakref.finalize(storage, self._freed, key, self._made)

    def _freed(self, key: int, number: int) -> None:
        self._known.pop(key, None)
        if self._ops:
            self._ops[-1].frees.append(number)

    def _first_uses(self, operands: list[Tensor]) -> tuple[int, ...]:
        used = {self._weights.get(storage_key(operand), -1) for operand in operands} - self._used - {-1}
        self._used |= used
        return tuple(sorted(used))


def _flops(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> int:
    """FLOPs by torch's own formulas, and those of a product of integers, for which torch has none."""
    formula = mm_flop if func is torch.ops.aten._int_mm.default else flop_registry.get(func.overloadpacket)
    if formula is None:
        return 0
    count = of_grouped_backward if is_grouped_backward(func, args) else formula
    return int(count(*args, **kwargs, out_val=result))


def _has_bias(name: str, args: tuple[Any, ...]) -> bool:
    return name in {"addmm", "baddbmm"} or (name == "convolution" and args[2] is not None)


def _nbytes(tensor: Tensor) -> int:
    """Bytes of its numbers; one that is repeated by a stride of 0 counts once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _attention(name: str, args: tuple[Any, ...]) -> TracedAttention | None:
    if name.endswith("backward"):
        return None
    masked = name.startswith((f"{FUSED}_efficient", f"{FUSED}_cudnn")) and args[3] is not None
    return TracedAttention(tuple(args[0].shape), tuple(args[1].shape), masked)


def held_by(tensor: Tensor) -> tuple[Tensor, ...]:
    """The tensors whose memory holds a tensor: itself, or those inside a subclass that wraps others, as quantized weights do."""
    if not is_traceable_wrapper_subclass(tensor):
        return (tensor,)
    names, _ = tensor.__tensor_flatten__()
    return tuple(held for name in names for held in held_by(getattr(tensor, name)))
