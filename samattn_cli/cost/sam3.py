"""SAM 3's vision encoder on the Tape; the same pass in torch, and its sources, are in `samattn_cli/nn/sam3.py`.

Shapes: B batch, H x W grid, C width, h heads, d = C / h.
"""

from __future__ import annotations

from collections.abc import Callable

from ..config.model import StageConfig
from ..config.plan import LayerConfig, PartConfig
from . import vit
from .kernels import attention as attention_kernel
from .rotary import rotate, rotations
from .tape import Tape
from .tensor import Dim, Tensor, decide

Resize = Callable[[Tape, Tensor], Tensor]


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str = "eager") -> Tensor:
    """ViTDet's block with rotary positions: (B, H, W, C) -> (B, H, W, C)."""
    stage = layer.stage
    return vit.windowed_block(
        tape,
        x,
        layer,
        lambda windows: attention(tape, windows, stage, kernel),
        lambda y: vit.mlp(tape, y, stage, ("fc1", "fc2")),
    )


def attention(tape: Tape, x: Tensor, stage: StageConfig, kernel: str) -> Tensor:
    """Multi-head self-attention with rotary positions: (B, H, W, C) -> (B, H, W, C)."""
    qkv = vit.qkv_of(tape, x, stage)
    q, k, v = vit.split(qkv, stage)  # (B, h, HW, d) each
    cos, sin = rotations(tape, x.shape[1:3], q.shape[-1])
    q, k = rotate(tape, "rotate_q", q, cos, sin), rotate(tape, "rotate_k", k, cos, sin)
    out = eager(tape, q, k, v) if kernel == "eager" else attention_kernel(tape, "sdpa", q, k, v)
    return vit.merge(tape, out, x.shape[1:3], qkv, q, k, cos, sin)


def eager(tape: Tape, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention that makes the score matrix, as transformers does: (B, h, HW, d), each -> (B, h, HW, d)."""
    products = tape.matmul("scores", q, k.transpose(-2, -1))  # (B, h, HW, HW)
    scores = tape.scale("scale", products)
    tape.free(products)
    probabilities = tape.softmax("softmax", scores)
    tape.free(scores)
    out = tape.matmul("values", probabilities, v)
    tape.free(probabilities)
    return out


def patch_no_bias(tape: Tape, image: Tensor, part: PartConfig) -> Tensor:
    """Non-overlapping patches to vectors, without a bias: (B, in_chans, height, width) -> (B, H, W, C)."""
    return vit.patch_embed(tape, image, part, bias=False)


def tiled_pos_embed(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Add the vectors of the grid of pretraining, repeated over a larger grid and cut to it: (B, H, W, C) -> the same."""
    (H, W), (h, w), C = part.entering.grid, part.config.pretrain_grid, x.shape[-1]
    table = tape.used_weight("position_embeddings", 1, h * w, C).view(1, h, w, C)
    if not (decide(h != H) or decide(w != W)):
        return tape.add("add", x, table)
    tiles = tape.repeat("tile", table.permute(0, 3, 1, 2), 1, 1, H // h + 1, W // w + 1)
    fitting = tiles.narrow((1, C, H, W)).permute(0, 2, 3, 1)
    out = tape.add("add", x, fitting)
    tape.free(tiles)
    return out


def sam3_fpn(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """Maps at 4, 2, 1 and 1/2 times the grid: (B, H, W, C) -> four of (B, out_chans, H', W')."""
    x = x.permute(0, 3, 1, 2)
    levels = (quadruple, double, single, half)
    return tuple(
        _level(tape, f"convs.{index}", x, level, part.config.out_chans) for index, level in enumerate(levels)
    )


def _level(tape: Tape, name: str, x: Tensor, resize: Resize, channels: Dim) -> Tensor:
    """`x` resized, then 1x1 and 3x3 convolutions."""
    with tape.module(name):
        resized = resize(tape, x)
        narrow = tape.conv2d("conv_1x1", resized, channels, 1)
        tape.free(resized, keep=x)
        out = tape.conv2d("conv_3x3", narrow, channels, 3, padding=1)
        tape.free(narrow)
    return out


def quadruple(tape: Tape, x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C / 4, 4H, 4W)."""
    C = x.shape[1]
    doubled = tape.conv_transpose2d("dconv_2x2_0", x, C // 2, 2, stride=2)
    active = tape.gelu("gelu", doubled)
    tape.free(doubled)
    out = tape.conv_transpose2d("dconv_2x2_1", active, C // 4, 2, stride=2)
    tape.free(active)
    return out


def double(tape: Tape, x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C / 2, 2H, 2W)."""
    return tape.conv_transpose2d("dconv_2x2", x, x.shape[1] // 2, 2, stride=2)


def single(_tape: Tape, x: Tensor) -> Tensor:
    """As it is."""
    return x


def half(tape: Tape, x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H / 2, W / 2)."""
    return tape.max_pool2d("maxpool_2x2", x, 2)


BLOCKS = {"rope_vit": block}
PATCH_EMBEDS = {"patch_no_bias": patch_no_bias}
POS_EMBEDS = {"tiled": tiled_pos_embed}
NECKS = {"sam3_fpn": sam3_fpn}
