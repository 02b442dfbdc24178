"""The blocks of ViT on the Tape; the same pass in torch is in `stack.py`.

Shapes: B batch, N tokens, C width, h heads, d = C / h.
"""

from __future__ import annotations

from collections.abc import Callable

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig
from ...tape.kernels import attention as attention_kernel
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from .mlps_tape import MLPS, Mlp


def attention(tape: Tape, x: Tensor, stage: StageConfig, kernel: str) -> tuple[Tensor, ...]:
    """Multi-head self-attention: (B, N, C) -> (B, N, C)."""
    (B, N, C), h = x.shape, stage.num_heads
    qkv = tape.linear("qkv", x, 3 * C, bias=stage.qkv_bias)
    # (B, N, 3C) -> (B, N, 3, h, d) -> (3, B, h, N, d)
    q, k, v = qkv.view(B, N, 3, h, C // h).permute(2, 0, 3, 1, 4).unbind()
    values, *kept = eager(tape, q, k, v) if kernel == "eager" else (attention_kernel(tape, "sdpa", q, k, v),)
    y = tape.reshape("merge_heads", values.permute(0, 2, 1, 3), B, N, C)
    tape.free(values, keep=y)
    out = tape.linear("proj", y, C)
    tape.free(y, *kept, qkv)
    return (out,)


Attention = Callable[[Tape, Tensor, StageConfig, str], tuple[Tensor, ...]]
"""The attended tokens, then what the block holds until its end."""


def block(
    tape: Tape,
    x: Tensor,
    layer: LayerConfig,
    kernel: str,
    *,
    mlp: Mlp | None = None,
    attend: Attention = attention,
) -> Tensor:
    """Pre-norm block: (B, N, C) -> (B, N, C)."""
    stage = layer.stage
    normed = tape.layer_norm("norm1", x)
    with tape.module("attn"):
        attended, *held = attend(tape, normed, stage, kernel)
    tape.free(normed)
    attended = layer_scale(tape, "ls1", attended, stage)
    x = tape.add("add_attn", x, attended)
    tape.free(attended)
    normed = tape.layer_norm("norm2", x)
    with tape.module("mlp"):
        y = (mlp or MLPS[stage.mlp])(tape, normed, stage)
    tape.free(normed)
    y = layer_scale(tape, "ls2", y, stage)
    out = tape.add("add_mlp", x, y)
    tape.free(x, y, *held)
    return out


def layer_scale(tape: Tape, name: str, x: Tensor, stage: StageConfig) -> Tensor:
    """Each channel times a learned factor, if the stage has that; `x` is freed then: (..., C) -> (..., C)."""
    if not stage.layer_scale:
        return x
    with tape.module(name):
        out = tape.mul("scale", x, tape.used_weight("gamma", x.shape[-1]))
    tape.free(x)
    return out


def eager(tape: Tape, q: Tensor, k: Tensor, v: Tensor, frees: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
    """Attention that makes the score matrix: (B, h, N, d), and the tensors that live as long as the queries.

    It frees what has the name of the queries, if that is not a view.
    """
    scaled = tape.scale("scale", q)
    tape.free(*frees)
    scores = tape.scores(scaled, k)  # (B, h, N, N)
    probabilities = tape.softmax("softmax", scores)
    tape.free(scores)
    return tape.matmul("values", probabilities, v), scaled, probabilities
