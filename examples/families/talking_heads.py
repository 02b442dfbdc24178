"""A family of a lab's own, in one file: talking heads (arXiv:2003.02436) in SAM's windowed blocks.

Before and after the softmax, each head's scores become a mixture of all heads' by a learned (h, h) matrix; parameter names
are those of CaiT in timm (models/cait.py, TalkingHeadAttn). Use it with:

    samattn analyze examples/families/talking_heads.yaml --family examples/families/talking_heads.py

Shapes: B images or windows, H x W grid, N = HW tokens, C width, h heads, d = C / h.
"""

from __future__ import annotations

from typing import Any

from samattn_cli.encoder.plan import LayerConfig
from samattn_cli.encoder.slots import Block, Family
from samattn_cli.families.vit import tape as vit
from samattn_cli.tape.tape import Tape
from samattn_cli.tape.tensor import Tensor

FAMILY = Family(
    blocks={
        "talking_vit": Block(
            summary="vit, with talking heads in place of relative positions.",
            kernels=("eager",),  # a fused kernel keeps its scores to itself
        )
    }
)


def tape() -> dict[str, Any]:
    """Its passes over the Tape."""
    return {"BLOCKS": {"talking_vit": block}}


def block(tape: Tape, x: Tensor, layer: LayerConfig, _kernel: str) -> Tensor:
    """Pre-norm block: (B, H, W, C) -> the same."""
    return vit.windowed_block(
        tape,
        x,
        layer,
        lambda windows: attention(tape, windows, layer),
        lambda tokens: vit.mlp(tape, tokens, layer.stage),
    )


def attention(tape: Tape, x: Tensor, layer: LayerConfig) -> Tensor:
    """Talking-heads attention: (B, H, W, C) -> the same."""
    qkv = vit.qkv_of(tape, x, layer.stage)
    q, k, v = vit.split(qkv, layer.stage)  # (B, h, N, d) each
    scaled = tape.scale("scale", q)
    scores = tape.scores(scaled, k)  # (B, h, N, N)
    tape.free(scaled)
    talked = talk(tape, "proj_l", scores)
    tape.free(scores)
    probabilities = tape.softmax("softmax", talked)
    tape.free(talked)
    mixed = talk(tape, "proj_w", probabilities)
    tape.free(probabilities)
    values = tape.matmul("values", mixed, v)  # (B, h, N, d)
    return vit.merge(tape, values, x.shape[1:3], qkv, mixed)


def talk(tape: Tape, name: str, scores: Tensor) -> Tensor:
    """A linear layer over heads: (B, h, N, N) -> the same."""
    heads_last = scores.permute(0, 2, 3, 1)
    return tape.linear(name, heads_last, scores.shape[1]).permute(0, 3, 1, 2)


def stack() -> dict[str, Any]:
    """Its modules in torch, which is imported here and nowhere else."""
    import torch
    from torch import nn

    from samattn_cli.families.vit import stack as vit

    class TalkingHeads(nn.Module):
        """Attention with linear layers over the heads of its scores."""

        def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool) -> None:
            super().__init__()
            self.num_heads = num_heads
            self.scale = (dim // num_heads) ** -0.5
            self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
            self.proj = nn.Linear(dim, dim)
            self.proj_l = nn.Linear(num_heads, num_heads)
            self.proj_w = nn.Linear(num_heads, num_heads)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """(B, H, W, C) -> the same."""
            B, H, W, C = x.shape
            # (B, H, W, 3C) -> (B, N, 3, h, d) -> (3, B, h, N, d)
            qkv = self.qkv(x).view(B, H * W, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
            q, k, v = qkv.unbind(0)
            scores = (q * self.scale) @ k.transpose(-2, -1)  # (B, h, N, N)
            scores = self.proj_l(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            scores = scores.softmax(dim=-1)
            scores = self.proj_w(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            out = scores @ v  # (B, h, N, d)
            return self.proj(out.transpose(1, 2).reshape(B, H, W, C))

    def block(layer: LayerConfig, _kernel: str) -> vit.WindowedBlock:
        stage = layer.stage
        attention = TalkingHeads(stage.embed_dim, stage.num_heads, qkv_bias=stage.qkv_bias)
        return vit.WindowedBlock(layer, attention, vit.MLP(stage.embed_dim, stage.mlp_dim))

    return {"BLOCKS": {"talking_vit": block}}
