"""Runs somebody else's module on the dry device: torch's own CUDA code and caching allocator, without a GPU and without numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ...reports.trace import DryRun
from ..fingerprint import _start_cuda
from ..measure import is_out_of_memory
from ..memory import free_workspaces
from ..step import GRADIENT, OPTIMIZERS
from .run import Inputs, tensors_in

CUDA = "cuda"


def start() -> None:
    """Start CUDA, without cuDNN's attention, as `samattn measure` does.

    Raises:
        DeviceError: if torch has no CUDA.
    """
    _start_cuda(CUDA)
    torch.backends.cuda.enable_cudnn_sdp(False)


def dry_run(module: nn.Module, inputs: Inputs, mode: str, optimizer: str) -> DryRun:
    """The memory of a pass of a module that is on the dry device; of the second, so that the optimizer's state is there."""
    step = _training(module, inputs, optimizer) if mode == "training" else _inference(module, inputs)
    try:
        step()
        reserved = torch.cuda.max_memory_reserved()
        torch.cuda.reset_peak_memory_stats()
        step()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0]
        return DryRun(False, torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved(), 0, reason)
    allocated = torch.cuda.max_memory_allocated()
    reserved = max(reserved, torch.cuda.max_memory_reserved())
    return DryRun(True, allocated, reserved, free_workspaces())


def _inference(module: nn.Module, inputs: Inputs) -> Callable[[], None]:
    module.eval()

    def forward() -> None:
        with torch.no_grad():
            module(*inputs.args, **inputs.kwargs)

    return forward


def _training(module: nn.Module, inputs: Inputs, optimizer: str) -> Callable[[], None]:
    module.train()
    trained = OPTIMIZERS[optimizer]([weight for weight in module.parameters() if weight.requires_grad])

    def step() -> None:
        trained.zero_grad(set_to_none=True)
        found = tensors_in(module(*inputs.args, **inputs.kwargs))
        outputs = [tensor for tensor in found if tensor.requires_grad]
        gradients = [torch.full_like(each, GRADIENT, memory_format=torch.preserve_format) for each in outputs]
        torch.autograd.backward(outputs, gradients)
        trained.step()

    return step
