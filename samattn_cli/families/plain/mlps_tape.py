"""The MLPs of plain blocks on the Tape; the same passes in torch are `mlps_stack.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...encoder.model import StageConfig
from ...tape.tape import Tape
from ...tape.tensor import Tensor

Activation = Callable[[Tape, str, Tensor], Tensor]
Mlp = Callable[[Tape, Tensor, StageConfig], Tensor]
"""(..., C) -> (..., C)."""


def mlp(tape: Tape, x: Tensor, stage: StageConfig, act: Activation = Tape.gelu) -> Tensor:
    """Linear, activation, linear: (..., C) -> (..., C)."""
    hidden = tape.linear("fc1", x, stage.mlp_dim)
    active = act(tape, "act", hidden)
    tape.free(hidden)
    out = tape.linear("fc2", active, x.shape[-1])
    tape.free(active)
    return out


def quick_gelu(tape: Tape, name: str, x: Tensor) -> Tensor:
    """X * sigmoid(1.702 x)."""
    scaled = tape.scale(f"{name}.scale", x)
    gate = tape.sigmoid(f"{name}.sigmoid", scaled)
    tape.free(scaled)
    out = tape.mul(f"{name}.mul", x, gate)
    tape.free(gate)
    return out


def swiglu(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """fc2(SiLU(fc1_g) * fc1_x): (..., C) -> (..., C)."""
    gate = tape.linear("fc1_g", x, stage.mlp_dim)
    up = tape.linear("fc1_x", x, stage.mlp_dim)
    product = _gated(tape, gate, up)
    tape.free(up)
    out = tape.linear("fc2", product, x.shape[-1])
    tape.free(product, gate)
    return out


def normed_swiglu(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """fc2(norm(SiLU(fc1_g) * fc1_x)), as in EVA-02: (..., C) -> (..., C)."""
    gate = tape.linear("fc1_g", x, stage.mlp_dim)
    up = tape.linear("fc1_x", x, stage.mlp_dim)
    product = _gated(tape, gate, up)
    tape.free(up)
    normed = tape.layer_norm("norm", product)
    tape.free(product)
    out = tape.linear("fc2", normed, x.shape[-1])
    tape.free(normed, gate)
    return out


def packed_swiglu(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """The same, with one linear layer for both; its output lives to the end: (..., C) -> (..., C)."""
    both = tape.linear("fc1", x, 2 * stage.mlp_dim)
    product = _gated(tape, *both.split((stage.mlp_dim, stage.mlp_dim), len(x.shape) - 1))
    out = tape.linear("fc2", product, x.shape[-1])
    tape.free(product, both)
    return out


def _gated(tape: Tape, gate: Tensor, up: Tensor) -> Tensor:
    active = tape.silu("act", gate)
    product = tape.mul("gate", active, up)
    tape.free(active)
    return product


with_quick_gelu = partial(mlp, act=quick_gelu)

MLPS: dict[str, Mlp] = {
    "gelu": mlp,
    "gelu_tanh": partial(mlp, act=partial(Tape.gelu, tanh=True)),
    "swiglu": swiglu,
    "swiglu_packed": packed_swiglu,
}
