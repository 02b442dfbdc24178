"""Which attention kernel a device runs for a call that a traced module makes: by the rules of the Tape, from real operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...tape.sdpa import choose
from ...tape.sdpa_call import AMPERE, Call, Operand, Target

if TYPE_CHECKING:
    from ...device.model import Device
    from ...stack.tracing.as_cuda import AttentionCall


def target_of(device: Device | None, *, has_cudnn: bool = True) -> Target:
    """Where a module runs: on a device; on an A100, if there is none or it is not a CUDA device."""
    if device is None or device.compute_capability is None:
        return AMPERE
    capability = Target.of(device.compute_capability).capability
    return Target(capability, has_cudnn=has_cudnn)


def kernel_of(target: Target) -> Callable[[AttentionCall], str]:
    """The choice of kernels of a device."""

    def kernel(call: AttentionCall) -> str:
        q, k, v = (_operand(x, has_gradients=call.has_gradients) for x in (call.q, call.k, call.v))
        mask = None if call.mask is None else _operand(call.mask, has_gradients=call.has_gradients)
        how = (call.dropout, call.is_causal, call.enable_gqa, call.is_deterministic)
        return choose(Call(q, k, v, mask, *how), target).kernel

    return kernel


def _operand(x: Any, *, has_gradients: bool) -> Operand:
    """A tensor of torch as an operand of the rules."""
    dtype = str(x.dtype).removeprefix("torch.")
    needs_grad = has_gradients and x.requires_grad
    return Operand(tuple(x.shape), tuple(x.stride()), dtype, needs_grad, x.storage_offset())
