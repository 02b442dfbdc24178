"""What transformers writes differently in SAM 3's vision encoder; the rest is `tape.py`.

Source: transformers 5.23.0, models/sam3/modeling_sam3.py: Sam3ViTRotaryEmbedding, apply_rotary_pos_emb_2d,
Sam3ViTRoPEAttention, Sam3ViTLayer, Sam3ViTEmbeddings, Sam3VisionNeck. Shapes: B batch, H x W grid, C width, h heads,
d = C / h.
"""

from __future__ import annotations

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.kernels import attention as attention_kernel
from ...tape.rotary import WIDE, angles_of, quarter_turn, turn
from ...tape.sine import sine_positions
from ...tape.storage import Dim
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import cut_from_copy
from ..vit import tape as vit
from . import tape as reference


class Code(vit.Code):
    """The steps of a block as in transformers: the layer has names for positions and for what its attention returns."""

    holds = {"positions": "block", "probabilities": "block"}  # noqa: RUF012 - never changed

    def partition(self, x: Tensor, layer: LayerConfig) -> Tensor:
        """Cut from a copy even where there is nothing to pad."""
        return cut_from_copy(self.tape, x, layer.windows)


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """A layer: (B, H, W, C) -> the same."""
    tape.registers("norm1", "rotary_emb", "attn", "norm2", "mlp")
    code = Code(tape)
    position_ids = tape.buffer(layer.windows.size[0] * layer.windows.size[1], 2)

    def attend(windows: Tensor) -> Tensor:
        return attention(tape, windows, position_ids, layer, kernel, code)

    return vit.windowed_block(
        tape, x, layer, attend, lambda y: vit.mlp(tape, y, layer.stage, ("fc1", "fc2")), code
    )


def attention(
    tape: Tape, x: Tensor, position_ids: Tensor, layer: LayerConfig, kernel: str, code: Code
) -> Tensor:
    """A projection for each of queries, keys and values, which are rotated: (B, H, W, C) -> the same."""
    (B, H, W, C), h = x.shape, layer.stage.num_heads
    cos, sin = rotations(tape, position_ids, C // h)

    def heads(name: str) -> Tensor:
        """(B, h, HW, d)."""
        return tape.linear(name, x, C).view(B, H * W, h, C // h).transpose(1, 2)

    q, k, v = heads("q_proj"), heads("k_proj"), heads("v_proj")
    q, k = turned(tape, (q, k), cos, sin)
    out = eager(tape, q, k, v, code) if kernel == "eager" else attention_kernel(tape, "sdpa", q, k, v)
    y = tape.contiguous("merge_heads", out.transpose(1, 2))
    tape.free(out, keep=y)
    result = tape.linear("o_proj", y.view(B, H, W, C), C)
    tape.free(y, q, k, v)
    for each in (cos, sin):
        code.drop("positions", each)
    return result


def eager(tape: Tape, q: Tensor, k: Tensor, v: Tensor, code: Code) -> Tensor:
    """Attention that makes the score matrix, and returns its probabilities too: (B, h, HW, d), each -> the same."""
    products = tape.scores(q, k, call="torch.matmul")  # (B, h, HW, HW)
    scores = tape.scale("scale", products)
    tape.free(products)
    probabilities = tape.softmax("softmax", scores)
    tape.free(scores)
    out = tape.matmul("values", probabilities, v, call="torch.matmul")
    code.drop("probabilities", probabilities)
    return out


def turned(tape: Tape, both: tuple[Tensor, Tensor], cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys (B, h, HW, d) rotated in float32; both results are cast when both are made."""
    named = tuple(zip(("rotate_q", "rotate_k"), both, strict=True))
    summed = []
    for name, x in named:
        wide = tape.cast(f"{name}.float", x, WIDE)
        summed.append(turn(tape, name, wide, cos, sin, quarter_turn))
        tape.free(wide, keep=x)
    q, k = (
        tape.cast(f"{name}.cast", wide, x.item_bytes) for (name, x), wide in zip(named, summed, strict=True)
    )
    for wide, low in zip(summed, (q, k), strict=True):
        tape.free(wide, keep=low)
    tape.free(*both)
    return q, k


def rotations(tape: Tape, position_ids: Tensor, head_dim: Dim) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles of the tokens, from buffers: (HW, d) each. No FLOPs count."""
    tokens = position_ids.shape[0]
    with tape.module("rotary_emb"):
        tables = []
        angles, of_axes = angles_of(tape, position_ids, head_dim)
        for name, each in of_axes.items():
            halves = tape.computed(f"{name}_axes", tokens, head_dim // 2, item_bytes=WIDE, reads=(each,))
            tables.append(tape.computed(f"{name}_pairs", tokens, head_dim, item_bytes=WIDE, reads=(halves,)))
            tape.free(halves, each)
        tape.free(angles)
    cos, sin = tables
    return cos, sin


def tiled_pos_embed(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Add the vectors of the pretraining grid, repeated over another grid, cut and copied: (B, H, W, C) -> the same."""
    grid, (h, w), C = part.entering.grid, part.config.pretrain_grid, x.shape[-1]
    if not (h != grid[0] or w != grid[1]):
        return reference.tiled_pos_embed(tape, x, part)
    table = tape.used_weight("position_embeddings", 1, h * w, C).view(1, h, w, C)
    tiles = reference.tiles_of(tape, table, grid)
    fitting = tape.contiguous("copy", tiles.narrow((1, C, *grid)).permute(0, 2, 3, 1))
    tape.free(tiles)
    out = tape.add("add", x, fitting)
    tape.free(fitting)
    return out


def sam3_fpn(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """The maps, and the tokens; the first forward makes positions of each map, which a cache has from then on."""

    def positions(level: int, map_: Tensor) -> None:
        with tape.in_first_forward():
            made = sine_positions(tape, level, map_)
        with tape.module("position_encoding"):
            tape.cached_for_good(made)

    maps = reference.sam3_fpn(tape, x, part, positions)
    return *maps, x.made_by(None)


BLOCKS = {"rope_vit": block}
POS_EMBEDS = {"tiled": tiled_pos_embed}
NECKS = {"sam3_fpn": sam3_fpn}
