"""Operations on gradients that autograd's engine does in place, but not under a dispatch mode.

Sources: can_accumulate_inplace in torch/csrc/autograd/input_buffer.cpp, index_backward, gather_backward
and value_selecting_reduction_backward in FunctionsManual.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

ADD = torch.ops.aten.add.Tensor
PUT: dict[Any, Callable[..., Tensor]] = {
    torch.ops.aten.index_put.default: torch.ops.aten.index_put_.default,  # of which an index may be None: x[:, i]
    torch.ops.aten.scatter_add.default: torch.ops.aten.scatter_add_.default,
    torch.ops.aten.scatter.src: torch.ops.aten.scatter_.src,  # of the numbers that max, sort and topk chose
}
"""Operations that put gradients into zeros, and how to do them in place."""


Uses = tuple[int, int]
"""The reference counts of a tensor and of its storage, including the references that counting adds."""


def in_place(
    func: Any, args: tuple[Any, ...], alone: Uses, is_gradient: Callable[[Tensor], bool] = lambda _: False
) -> Tensor | None:
    """Do an operation of backward in place, if the engine would: adding gradients, putting rows of a table.

    Args:
        func: what a dispatch mode was asked to run.
        args: its arguments.
        alone: `uses_of_the_last_holder`.
        is_gradient: whether a tensor is the gradient of a weight, to which the engine adds another (accumulate_grad.h).
    """
    if torch.is_grad_enabled():  # the second forward of a checkpointed block
        return None
    if func is ADD and (is_gradient(args[0]) or (_uses(args[0]) == alone and _is_dense(args[0]))):
        return args[0].add_(args[1])
    return PUT[func](*args) if func in PUT else None


def _uses(tensor: Tensor) -> Uses:
    storage = tensor.untyped_storage()._cdata
    return tensor._use_count(), torch._C._storage_Use_Count(storage)  # type: ignore[attr-defined]


@cache
def uses_of_the_last_holder() -> Uses:
    """The reference counts of a gradient that only the engine's buffer holds, counted on an example.

    Call it while no mode is active.
    """
    x = torch.ones(1, device="meta", requires_grad=True)
    with torch.enable_grad(), _Probe() as probe:
        y = x * 1
        torch.autograd.backward([y.sin() + y.cos()], [torch.ones(1, device="meta")])
    return probe.uses


class _Probe(TorchDispatchMode):
    """Counts the references to a gradient that another is added to."""

    def __init__(self) -> None:
        super().__init__()
        self.uses = (0, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation; if it adds gradients, count the references to its argument."""
        if func is ADD and not torch.is_grad_enabled():
            self.uses = _uses(args[0])
        return func(*args, **(kwargs or {}))


def _is_dense(tensor: Tensor) -> bool:
    """Whether its elements fill their memory without gaps or overlap, in some order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
