"""EVA-02's blocks for detection on the Tape; the same pass in torch, and its sources, are in `samattn_cli/families/eva02/stack.py`.

Shapes: B batch, H x W grid, C width, h heads, d = C / h.
"""

from __future__ import annotations

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig
from ...tape.kernels import attention as attention_kernel
from ...tape.rotary import rotate, rotations
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ..vit import tape as vit


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str = "eager") -> Tensor:
    """ViTDet's block with EVA-02's attention and MLP: (B, H, W, C) -> (B, H, W, C)."""
    stage = layer.stage
    return vit.windowed_block(
        tape,
        x,
        layer,
        lambda windows: attention(tape, windows, stage, kernel),
        lambda y: swiglu(tape, y, stage),
    )


def attention(tape: Tape, x: Tensor, stage: StageConfig, kernel: str) -> Tensor:
    """Multi-head self-attention with rotary positions: (B, H, W, C) -> (B, H, W, C)."""
    tape.registers("q_bias", "v_bias", "q_proj", "k_proj", "v_proj", "proj")
    projected = [
        _heads(_projected(tape, name, x, bias=stage.qkv_bias and name != "k"), stage)
        for name in ("q", "k", "v")
    ]
    cos, sin = rotations(tape, x.shape[1:3], projected[0].shape[-1])
    q, k = (
        rotate(tape, f"rotate_{name}", each, cos, sin) for name, each in zip("qk", projected, strict=False)
    )
    tape.free(*projected[:2])
    v = projected[2]
    out = eager(tape, q, k, v) if kernel == "eager" else attention_kernel(tape, "sdpa", q, k, v)
    return vit.merge(tape, out, x.shape[1:3], v, q, k, cos, sin)


def _projected(tape: Tape, name: str, x: Tensor, *, bias: bool) -> Tensor:
    """Queries, keys or values; their bias is a weight of the attention: (B, H, W, C) -> the same."""
    C = x.shape[-1]
    if not bias:
        return tape.linear(f"{name}_proj", x, C, bias=False)
    weight = tape.parameter(f"{name}_proj.weight", C, C)
    return tape.linear_with(f"{name}_proj", x, weight, tape.parameter(f"{name}_bias", C))


def _heads(x: Tensor, stage: StageConfig) -> Tensor:
    """(B, H, W, C) -> (B, h, HW, d)."""
    (B, H, W, C), h = x.shape, stage.num_heads
    return x.view(B, H * W, h, C // h).permute(0, 2, 1, 3)


def eager(tape: Tape, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention that makes the score matrix: (B, h, HW, d), each -> (B, h, HW, d)."""
    scaled = tape.scale("scale", q)
    scores = tape.scores(scaled, k)  # (B, h, HW, HW)
    tape.free(scaled)
    probabilities = tape.softmax("softmax", scores)
    tape.free(scores)
    out = tape.matmul("values", probabilities, v)
    tape.free(probabilities)
    return out


def swiglu(tape: Tape, x: Tensor, stage: StageConfig) -> Tensor:
    """w3(norm(SiLU(w1) * w2)): (..., C) -> (..., C)."""
    gate = tape.linear("w1", x, stage.mlp_dim)
    up = tape.linear("w2", x, stage.mlp_dim)
    active = tape.silu("act", gate)
    hidden = tape.mul("gate", active, up)
    tape.free(active)
    normed = tape.layer_norm("ffn_ln", hidden)
    out = tape.linear("w3", normed, x.shape[-1])
    tape.free(normed, hidden, gate, up)
    return out


BLOCKS = {"eva02_vit": block}
