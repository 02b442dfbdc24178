"""What transformers writes differently in Swin V2's encoder; the rest is `tape.py`.

Source: transformers 5.23.0, models/swinv2/modeling_swinv2.py: Swinv2SelfAttention, Swinv2Layer, Swinv2PatchMerging. Shapes:
B batch, H x W grid, C width, h heads, d = C / h, M = B * windows, N tokens of a window.
"""

from __future__ import annotations

from math import prod

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.storage import Shape
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import add_mask, crop, cut, free_unless_shared, join, shifted, shifted_back
from ..swin.transformers_tape import PATCH_EMBEDS, shift_mask
from . import tape as reference


class Code(reference.Code):
    """The steps of a block as in transformers, which has a name for each tensor on the way into windows and back.

    Attributes:
        shape: of the tokens that enter.
    """

    holds_hidden = True
    shape: Shape = ()

    def padded(self, x: Tensor) -> Tensor:
        """A copy even where there is nothing to pad: ``F.pad`` by zero copies."""
        self.shape = B, *_, C = x.shape
        return self.tape.pad("pad", x.view(B, *self.layer.grid, C), B, *self.layer.windows.covered, C)

    def attend(self, _x: Tensor, whole: Tensor) -> reference.Attended:
        """The norm takes the name of the padded tokens; all others are held to the end of the block."""
        tape, layer = self.tape, self.layer
        rolled = shifted(tape, whole) if layer.is_shifted else whole
        windows = cut(tape, rolled, layer.windows)
        windows = windows.view(windows.shape[0], prod(layer.windows.size), whole.shape[-1])
        mask = shift_mask(tape, layer) if layer.is_shifted else None
        with tape.module("attn"):
            attended = attention(tape, windows, layer, mask)
        joined = join(tape, attended, layer.windows)
        back = shifted_back(tape, joined) if layer.is_shifted else joined
        y = crop(tape, back, layer.grid)
        free_unless_shared(tape, back, (attended, joined, y))
        masks = () if mask is None else (mask,)
        return y.view(*self.shape), (whole,), (), (rolled, windows, attended, joined, y, *masks)


def attention(tape: Tape, x: Tensor, layer: LayerConfig, mask: Tensor | None) -> Tensor:
    """A projection for each of queries, keys and values: (M, N, C) -> (M, N, C). It adds the mask twice."""
    (M, N, C), h = x.shape, layer.stage.num_heads

    def heads(name: str, *, bias: bool) -> Tensor:
        """(M, h, N, d)."""
        return tape.linear(name, x, C, bias=bias).view(M, N, h, C // h).transpose(1, 2)

    tape.registers("logit_scale", "cpb_mlp", "query", "key", "value", "proj")
    has_bias = layer.stage.qkv_bias
    q, k, v = heads("query", bias=has_bias), heads("key", bias=False), heads("value", bias=has_bias)
    products, scale = reference.scaled_cosines(tape, q, k)
    table, bias = reference.relative_bias(tape, layer)
    scores = tape.add("add_bias", products, bias.unsqueeze(0))
    tape.free(products)
    for each in () if mask is None else (mask, mask):
        unmasked, scores = scores, add_mask(tape, scores, each)
        tape.free(unmasked)
    probabilities = tape.softmax("softmax", scores)
    values = tape.matmul("values", probabilities, v, call="torch.matmul")
    y = tape.contiguous("merge_heads", values.transpose(1, 2))
    tape.free(values, keep=y)
    tape.free(q, k, v, scale, table, bias, scores, probabilities)
    out = tape.linear("dense", y.view(M, N, C), C)
    tape.free(y)
    return out


def block(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str) -> Tensor:
    """Swin V2's block: (B, HW, C) -> (B, HW, C)."""
    tape.registers("attn", "norm1", "mlp", "norm2")
    return reference.block(tape, x, layer, kernel, steps=Code(tape, layer))


def patch_merging(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """The merging that ends a stage: (B, HW, C) -> (B, HW / 4, C')."""
    B, C, grid = x.shape[0], x.shape[-1], part.entering.grid
    merged = reference.patch_merging(tape, x.view(B, *grid, C), part)
    _, H, W, D = merged.shape
    return merged.view(B, H * W, D)


BLOCKS = {"swinv2": block}
TRANSITIONS = {"patch_merging_v2": patch_merging}
__all__ = ["BLOCKS", "PATCH_EMBEDS", "TRANSITIONS"]
