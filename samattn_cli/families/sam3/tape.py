"""SAM 3's vision encoder on the Tape; the same pass in torch, and its sources, are in `samattn_cli/families/sam3/stack.py`.

Shapes: B batch, H x W grid, C width, h heads, d = C / h.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...encoder.model import StageConfig
from ...encoder.plan import LayerConfig, PartConfig
from ...tape.kernels import attention as attention_kernel
from ...tape.rotary import rotate, rotations
from ...tape.storage import Dim, Shape
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ..vit import tape as vit
from ..vitdet.tape import Layer, in_turn, up


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
    products = tape.scores(q, k)  # (B, h, HW, HW)
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
    """Add the vectors of the pretraining grid, repeated over a larger grid and cut: (B, H, W, C) -> the same."""
    (H, W), (h, w), C = part.entering.grid, part.config.pretrain_grid, x.shape[-1]
    table = tape.used_weight("position_embeddings", 1, h * w, C).view(1, h, w, C)
    if not (h != H or w != W):
        return tape.add("add", x, table)
    tiles = tiles_of(tape, table, (H, W))
    fitting = tiles.narrow((1, C, H, W)).permute(0, 2, 3, 1)
    out = tape.add("add", x, fitting)
    tape.free(tiles)
    return out


def tiles_of(tape: Tape, table: Tensor, grid: Shape) -> Tensor:
    """A table (1, h, w, C) repeated over a grid, one tile more than fits whole: (1, C, H', W')."""
    _, h, w, _ = table.shape
    return tape.repeat("tile", table.permute(0, 3, 1, 2), 1, 1, grid[0] // h + 1, grid[1] // w + 1)


def nothing_more(_level: int, _map: Tensor) -> None:
    """Default: nothing is made of a map."""


def sam3_fpn(
    tape: Tape, x: Tensor, part: PartConfig, of_map: Callable[[int, Tensor], None] = nothing_more
) -> tuple[Tensor, ...]:
    """Maps at 4, 2, 1 and 1/2 times the grid: (B, H, W, C) -> four of (B, out_chans, H', W').

    `of_map` is run with each level and its map, as soon as that is made.
    """
    image, C = x.permute(0, 3, 1, 2), x.shape[-1]
    scales: tuple[tuple[Layer, ...], ...] = (
        (up(tape, "dconv_2x2_0", C // 2), partial(tape.gelu, "gelu"), up(tape, "dconv_2x2_1", C // 4)),
        (up(tape, "dconv_2x2", C // 2),),
        (),
        (lambda y: tape.pooling("maxpool_2x2", y, 2),),
    )
    maps = []
    for level, scale in enumerate(scales):
        maps.append(_level(tape, f"convs.{level}", image, scale, part.config.out_chans))
        of_map(level, maps[-1])
    return tuple(maps)


def _level(tape: Tape, name: str, image: Tensor, scale: tuple[Layer, ...], channels: Dim) -> Tensor:
    """One map: the image scaled, then convolutions 1x1 and 3x3, with biases."""
    with tape.module(name):
        return in_turn(
            tape,
            image,
            *scale,
            lambda y: tape.conv2d("conv_1x1", y, channels, 1),
            lambda y: tape.conv2d("conv_3x3", y, channels, 3, padding=1),
        )


BLOCKS = {"rope_vit": block}
PATCH_EMBEDS = {"patch_no_bias": patch_no_bias}
POS_EMBEDS = {"tiled": tiled_pos_embed}
NECKS = {"sam3_fpn": sam3_fpn}
