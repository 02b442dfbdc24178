"""Runs a module on the meta device, in inference and in a training step, and records each operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ...errors import SamattnError
from ...reports.trace import IN_THREADS, Trace, TracedModule, TracedOp, TracedWeight
from ..gradients import uses_of_the_last_holder
from . import as_cuda
from .autocast import noticed
from .follow import Follower, Modules, held_by

HEADS = ("num_heads", "num_attention_heads", "n_heads", "nheads", "heads", "n_head")
"""Attributes in which modules keep their number of heads."""
LISTS = (nn.ModuleList, nn.Sequential, nn.ModuleDict)
FAST_PATH = (
    "nn.MultiheadAttention runs as separate operations here; in inference on CUDA torch may take its fast path, which allocates "
    "other tensors (--device dry:NAME runs it)"
)
WRAPPED = (
    "{} keeps numbers in {}; on the meta device its library may run other operations than on CUDA, which allocate other "
    "tensors (--device dry:NAME runs it)"
)
MOST_HEADS = 1 << 12


class Inputs:
    """The inputs of a module: in order, and by name."""

    def __init__(self, shapes: Mapping[str, tuple[tuple[int, ...], str]], device: str) -> None:
        made = {
            name: _filled(torch.empty(shape, dtype=getattr(torch, dtype), device=device))
            for name, (shape, dtype) in shapes.items()
        }
        self.args = tuple(tensor for name, tensor in made.items() if name.isdecimal())
        self.kwargs = {name: tensor for name, tensor in made.items() if not name.isdecimal()}
        self.shapes = {name: tuple(tensor.shape) for name, tensor in made.items()}

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        return (*self.args, *self.kwargs.values())


def _filled(tensor: Tensor) -> Tensor:
    """Zeros: uninitialized numbers could be anything."""
    return tensor if tensor.is_meta else tensor.zero_()


def trace(
    module: nn.Module, inputs: Inputs, mode: str, notes: list[str], kernel_of: as_cuda.KernelOf
) -> Trace:
    """Run `module` in inference and, if the mode is "training", in a training step; `kernel_of` chooses attention kernels.

    Raises:
        SamattnError: if it returns no tensor, or none that has a gradient.
    """
    device = inputs.tensors[0].device.type
    library = as_cuda.install(kernel_of) if device == "meta" else None
    weights = dict(module.named_parameters())
    trained = set[str]()
    try:
        with noticed(notes):
            inference, step_of = Modules(module), Modules(module)
            forward, outputs = _inference(module, inputs, device, inference)
            step = _step(module, inputs, device, step_of) if mode == "training" else ()
            trained = {name for name, weight in weights.items() if weight.grad is not None}
    finally:
        module.zero_grad(set_to_none=True)
        del library
    if inference.in_threads or step_of.in_threads:
        notes.append(IN_THREADS)
    buffers = _distinct(module.buffers())
    if any(isinstance(each, nn.MultiheadAttention) for each in module.modules()):
        notes.append(FAST_PATH)
    notes.extend(_of_wrapped(weights))
    return Trace(
        type=f"{type(module).__module__}.{type(module).__qualname__}",
        inputs=inputs.shapes,
        dtype=_name(next((w.dtype for w in weights.values()), torch.get_default_dtype())),
        torch=torch.__version__,
        route="meta" if device == "meta" else "cpu",
        notes=tuple(notes),
        modules=tuple(_module(named, inference.runs) for named in module.named_modules()),
        weights=tuple(
            TracedWeight(
                name, tuple(w.shape), tuple(t.nbytes for t in held_by(w)), w.requires_grad, name in trained
            )
            for name, w in weights.items()
        ),
        buffer_bytes=tuple(t.untyped_storage().nbytes() for buffer in buffers for t in held_by(buffer)),
        input_bytes=tuple(tensor.nbytes for tensor in inputs.tensors),
        output=tuple(tuple(tensor.shape) for tensor in outputs),
        output_bytes=sum(tensor.nbytes for tensor in outputs),
        forward=forward,
        step=step,
    )


def _of_wrapped(weights: Mapping[str, Tensor]) -> Iterator[str]:
    """A note for each type of weights that other tensors hold, with the first of them."""
    first: dict[str, tuple[str, Tensor]] = {}
    for name, weight in weights.items():
        if len(held_by(weight)) > 1:
            first.setdefault(type(weight).__name__, (name, weight))
    for kind, (name, weight) in first.items():
        held = (f"{_name(tensor.dtype)} {'x'.join(map(str, tensor.shape))}" for tensor in held_by(weight))
        yield WRAPPED.format(f"weight {name} of type {kind}", " and ".join(held))


def _inference(
    module: nn.Module, inputs: Inputs, device: str, modules: Modules
) -> tuple[tuple[TracedOp, ...], list[Tensor]]:
    module.eval()
    with torch.no_grad(), as_cuda.numbers_on_host(), _follower(module, inputs, device, modules) as follower:
        with modules.followed():
            output = module(*inputs.args, **inputs.kwargs)
        ops = follower.finished()
    outputs = tensors_in(output)
    if not outputs:
        raise SamattnError(
            "no-tensor-returned",
            f"the module returns {type(output).__name__} without a tensor in it; a tensor, or a list, a dictionary or a "
            "dataclass of tensors, would be right",
        )
    if not ops:
        raise SamattnError(
            "no-operation",
            "its forward runs no operation that makes a tensor, or runs all of them in another thread, where they are not seen",
        )
    return ops, outputs


def _step(module: nn.Module, inputs: Inputs, device: str, modules: Modules) -> tuple[TracedOp, ...]:
    """A forward in which autograd keeps tensors, and the backward from a gradient of each output, which leaves gradients."""
    alone = uses_of_the_last_holder()
    module.train()
    module.zero_grad(set_to_none=True)
    follower = _follower(module, inputs, device, modules)

    def pack(tensor: Tensor) -> Tensor:
        follower.keeps(tensor)
        return tensor

    with torch.enable_grad(), as_cuda.numbers_on_host(), follower, modules.followed():
        with saved_tensors_hooks(pack, lambda kept: kept):
            output = module(*inputs.args, **inputs.kwargs)
        outputs = [tensor for tensor in tensors_in(output) if tensor.requires_grad]
        if not outputs:
            raise SamattnError(
                "nothing-to-train",
                "no output has a gradient, so there is no training step: every weight is frozen, or the forward runs under "
                "torch.no_grad",
            )
        follower.phase = "backward"
        gradients = list(map(torch.empty_like, outputs))
        follower.alone = alone if device == "meta" else None
        torch.autograd.backward(outputs, gradients)
        return follower.finished()


def _follower(module: nn.Module, inputs: Inputs, device: str, modules: Modules) -> Follower:
    weights = list(module.parameters())
    return Follower(device, modules, weights, (*weights, *module.buffers(), *inputs.tensors))


def tensors_in(output: Any) -> list[Tensor]:
    """The tensors in an output, each once: in lists, dictionaries and dataclasses."""
    found: dict[int, Tensor] = {}
    for tensor in _walk(output):
        found.setdefault(id(tensor), tensor)
    return list(found.values())


def _walk(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _walk(value)
    elif isinstance(output, list | tuple | set):
        for value in output:
            yield from _walk(value)
    elif is_dataclass(output):
        for field in fields(output):
            yield from _walk(getattr(output, field.name))


def _distinct(tensors: Any) -> list[Tensor]:
    """Tensors, each storage once."""
    return list({tensor.untyped_storage()._cdata: tensor for tensor in tensors}.values())


def _module(named: tuple[str, nn.Module], runs: Mapping[str, int]) -> TracedModule:
    name, module = named
    values = (getattr(module, attribute, 0) for attribute in HEADS)
    heads = next((value for value in values if type(value) is int and 0 < value < MOST_HEADS), 0)
    return TracedModule(
        name,
        f"{type(module).__module__}.{type(module).__qualname__}",
        isinstance(module, LISTS),
        heads,
        runs[name],
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


__all__ = ["Inputs", "tensors_in", "trace"]
