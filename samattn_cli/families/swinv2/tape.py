"""Swin Transformer V2 on the Tape; the same pass in torch, with its sources, is `samattn_cli/families/swinv2/stack.py`.

Shapes: B batch, H x W grid, C width, h heads, d = C / h, M = B * windows, N tokens of a window.
"""

from __future__ import annotations

from ...encoder.placement import Placement
from ...encoder.plan import LayerConfig, PartConfig
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import free_unless_shared, padded
from ...units import INT64_BYTES
from ..swin.tape import attend, cropped, each_of, merged, mlp, split, weighed
from ..swin.words import SQUARE

BIAS_HIDDEN = 512

Attended = tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]
"""Attended tokens, then what the block holds until their norm, until it has added that, and until its end."""


class Code:
    """The steps of the block that implementations write differently, as Microsoft's code writes them.

    Attributes:
        holds_hidden: whether the block holds the MLP's result until it has added its norm.
    """

    holds_hidden = False

    def __init__(self, tape: Tape, layer: LayerConfig) -> None:
        self.tape = tape
        self.layer = layer

    def padded(self, x: Tensor) -> Tensor:
        """Whole windows of (B, H, W, C); here `x` itself if it has them."""
        return padded(self.tape, x, self.layer.windows)

    def attend(self, x: Tensor, whole: Tensor) -> Attended:
        """Attention over windows that may be shifted: (B, H', W', C), with padding, -> (B, H, W, C)."""
        tape, layer = self.tape, self.layer
        y, kept = attend(tape, whole, layer, attention)
        free_unless_shared(tape, whole, (x, *kept))
        y = cropped(tape, y, layer, kept)
        return y, (), (y,), kept

    def for_mlp(self, x: Tensor) -> Tensor:
        """The tokens (B, H, W, C) as the second half of the block takes them: here as they are."""
        return x


class AttentionCode:
    """The steps of the attention that implementations write differently, as Microsoft's code writes them."""

    @staticmethod
    def unbind(packed: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values from their packed projection."""
        return each_of(packed)

    @staticmethod
    def k_bias(tape: Tape, like: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The bias of keys, which is zeros, and what is freed once it has been used."""
        zeros = tape.constant("k_bias", like, like.elements)
        return zeros, (zeros,)


def block(
    tape: Tape, x: Tensor, layer: LayerConfig, _kernel: str = "eager", *, steps: Code | None = None
) -> Tensor:
    """Attention, norm, shortcut; MLP, norm, shortcut: (B, H, W, C) -> (B, H, W, C)."""
    if steps is None:
        tape.registers("norm1", "attn", "norm2", "mlp")
    steps, shortcut = steps or Code(tape, layer), x
    whole = steps.padded(x)
    y, until_normed, until_added, kept = steps.attend(x, whole)
    normed = tape.layer_norm("norm1", y)
    for each in until_normed:
        free_unless_shared(tape, each, kept)
    x = steps.for_mlp(tape.add("add_attn", shortcut, normed))
    tape.free(normed)
    for each in until_added:
        free_unless_shared(tape, each, kept)
    y = mlp(tape, x, layer)
    normed = tape.layer_norm("norm2", y)
    if not steps.holds_hidden:
        tape.free(y)
    out = tape.add("add_mlp", x, normed)
    tape.free(normed, x, *((y,) if steps.holds_hidden else ()))
    tape.free(*kept, keep=shortcut)
    return out if out.shape == shortcut.shape else out.view(*shortcut.shape)


def attention(
    tape: Tape,
    x: Tensor,
    layer: LayerConfig,
    mask: Tensor | None,
    code: type[AttentionCode] = AttentionCode,
) -> Tensor:
    """Attention by the cosine of queries and keys: (M, N, C) -> (M, N, C); `code` is that of an implementation."""
    C = x.shape[-1]
    tape.registers("logit_scale", "q_bias", "v_bias", "cpb_mlp", "qkv", "proj")
    weight = tape.parameter("qkv.weight", 3 * C, C)
    bias_of_qkv = qkv_bias(tape, C, code, layer)
    qkv = tape.linear_with("qkv", x, weight, bias_of_qkv)
    q, k, v = code.unbind(split(qkv, layer))
    scores, scale = scaled_cosines(tape, q, k)
    table, bias = relative_bias(tape, layer)
    y, probabilities = weighed(tape, scores, bias, mask, v)
    out = tape.linear("proj", y, C)
    tape.free(y, probabilities, scale, table, bias, qkv)
    if bias_of_qkv is not None:
        tape.free(bias_of_qkv)
    return out


def scaled_cosines(tape: Tape, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of queries and keys (M, h, N, d), times the scale of each head: (M, h, N, N); and the scales (h, 1, 1)."""
    one, other = tape.normalize("normalize_q", q), tape.normalize("normalize_k", k)
    cosines = tape.scores(one, other)  # (M, h, N, N)
    tape.free(one, other)
    bounded = tape.clamp("logit_scale.clamp", tape.used_weight("logit_scale", q.shape[1], 1, 1))
    scale = tape.exp("logit_scale.exp", bounded)
    tape.free(bounded)
    scores = tape.mul("scale", cosines, scale)
    tape.free(cosines)
    return scores, scale


def qkv_bias(tape: Tape, C: int, code: type[AttentionCode], layer: LayerConfig) -> Tensor | None:
    """The bias of queries, keys (zeros) and values: (3C,); None if it has none."""
    if not layer.stage.qkv_bias:
        return None
    if layer.stage.zeroed_key_bias:
        copied = tape.clone("qkv_bias", tape.used_weight("qkv.bias", 3 * C))
        return tape.zero_part_("zero_key_bias", copied, C)
    q, v = tape.used_weight("q_bias", C), tape.used_weight("v_bias", C)
    zeros, freed = code.k_bias(tape, q)
    out = tape.cat("qkv_bias", (q, zeros, v))
    tape.free(*freed)
    return out


def relative_bias(tape: Tape, layer: LayerConfig) -> tuple[Tensor, Tensor]:
    """The table with a bias per offset and head, from an MLP, and the bias of the scores of a window: (h, N, N)."""
    heads, (h, w) = layer.stage.num_heads, layer.windows.size
    N, offsets = h * w, (2 * h - 1, 2 * w - 1)
    coordinates = tape.buffer(1, *offsets, 2)
    with tape.module("cpb_mlp"):
        hidden = tape.linear("0", coordinates, BIAS_HIDDEN)
        active = tape.relu_("1", hidden)
        biases = tape.linear("2", active, heads, bias=False)
        tape.free(active)
    table = biases.view(offsets[0] * offsets[1], heads)
    rows = tape.rows("rel_pos", table, (tape.buffer(N, N, item_bytes=INT64_BYTES).view(N * N),), N * N, heads)
    bias = tape.contiguous("rel_pos_bias", rows.view(N, N, heads).permute(2, 0, 1))
    tape.free(rows, keep=bias)
    gate = tape.sigmoid("rel_pos_sigmoid", bias)
    scaled = tape.scale("rel_pos_scale", gate)
    tape.free(gate, bias)
    return table, scaled


def patch_merging(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Merges each 2x2 tokens into one: a linear layer, then norm: (B, H, W, C) -> (B, H / 2, W / 2, C')."""
    tape.registers("reduction", "norm")
    whole = padded(tape, x, Placement(SQUARE).over(x.shape[1:3]))
    together = merged(tape, whole)
    reduced = tape.linear("reduction", together, part.leaving.dim, bias=False)
    tape.free(together)
    out = tape.layer_norm("norm", reduced)
    tape.free(reduced)
    free_unless_shared(tape, whole, (x,))
    return out


BLOCKS = {"swinv2": block}
TRANSITIONS = {"patch_merging_v2": patch_merging}
