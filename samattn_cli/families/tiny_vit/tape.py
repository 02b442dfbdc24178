"""TinyViT on the Tape; the same pass in torch, with its sources, is `samattn_cli/families/tiny_vit/stack.py`.

Shapes: B batch, H x W grid, L = H * W, C width, h heads, d = C / h, M = B * windows, N tokens of a window.
"""

from __future__ import annotations

from functools import partial

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.kernels import attention as attention_kernel
from ...tape.storage import Dim
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import crop, free_unless_shared, padded
from ...units import INT64_BYTES


class Code:
    """The steps of the block that implementations write differently, as the authors write them.

    Attributes:
        flattens: whether the MLP's tokens are (B, L, C), and not (B, H, W, C).
    """

    flattens = False

    def __init__(self, tape: Tape, layer: LayerConfig) -> None:
        self.tape = tape
        self.layer = layer

    def bias_first(self) -> Tensor | None:
        """The biases, if they are made before all else."""
        return None

    def eager(
        self, q: Tensor, k: Tensor, v: Tensor, normed: Tensor, _bias: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Attention that makes the score matrix: (M, h, N, d) three times -> (M, N, C), and what is kept until the end."""
        tape = self.tape
        raw = tape.scores(q, k)  # (M, h, N, N)
        scaled = tape.scale("scale", raw)
        tape.free(raw)
        bias = biases(tape, self.layer)
        scores = tape.add("add_bias", scaled, bias)
        tape.free(scaled)
        let_go(tape, bias)
        probabilities = tape.softmax("softmax", scores)
        tape.free(scores)
        values = tape.matmul("values", probabilities, v)
        y = merged(tape, values)
        tape.free(values, keep=y)
        tape.free(normed)
        return y, probabilities

    def sdpa(
        self, q: Tensor, k: Tensor, v: Tensor, normed: Tensor, _bias: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Torch's scaled_dot_product_attention, with the biases as its mask."""
        tape = self.tape
        bias = biases(tape, self.layer)
        values = attention_kernel(tape, "sdpa", q, k, v, bias.unsqueeze(0))
        let_go(tape, bias)
        tape.free(normed)
        y = merged(tape, values)
        tape.free(values, keep=y)
        return (y,)


def conv_norm(
    tape: Tape, name: str, x: Tensor, out: Dim, kernel: int, *, stride: int = 1, groups: Dim = 1
) -> Tensor:
    """A convolution and its BatchNorm: (B, in, height, width) -> (B, out, ...)."""
    with tape.module(name):
        y = tape.conv2d("c", x, out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
        normed = tape.batch_norm("bn", y)
        tape.free(y)
    return normed


def active(tape: Tape, name: str, x: Tensor) -> Tensor:
    """GELU of `x`, which is freed."""
    out = tape.gelu(name, x)
    tape.free(x)
    return out


def mbconv(tape: Tape, x: Tensor, layer: LayerConfig, _kernel: str = "eager") -> Tensor:
    """Convolutions to a larger width and back, and the shortcut: (B, H, W, C) -> the same."""
    image, wide = x.permute(0, 3, 1, 2), layer.stage.mlp_dim
    first = active(tape, "act1", conv_norm(tape, "conv1", image, wide, 1))
    y = conv_norm(tape, "conv2", first, wide, 3, groups=wide)
    tape.free(first)
    second = active(tape, "act2", y)
    y = conv_norm(tape, "conv3", second, image.shape[1], 1)
    tape.free(second)
    return active(tape, "act3", tape.added_("add", y, image)).permute(0, 2, 3, 1)


def block(
    tape: Tape, x: Tensor, layer: LayerConfig, kernel: str = "eager", *, code: type[Code] = Code
) -> Tensor:
    """Attention, shortcut; convolution; MLP, shortcut: (B, H, W, C) -> the same."""
    B, H, W, C = x.shape
    tape.registers("attn", "mlp", "local_conv")
    y = attend(tape, x, layer, kernel, code)
    attended = tape.add("add_attn", x, y)
    tape.free(y)
    mixed = conv_norm(tape, "local_conv", attended.permute(0, 3, 1, 2), C, 3, groups=C)
    tape.free(attended)
    rows = mixed.view(B, C, H * W).transpose(1, 2) if code.flattens else mixed.permute(0, 2, 3, 1)
    y = mlp(tape, rows, layer)
    out = tape.add("add_mlp", rows, y)
    tape.free(mixed, y)
    return out.view(B, H, W, C) if code.flattens else out


def attend(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, code: type[Code]) -> Tensor:
    """Attention over windows, or over the whole grid: (B, H, W, C) -> the same."""
    (B, *_, C), (H, W) = x.shape, layer.grid
    if layer.windows.size != layer.grid:
        return in_windows(tape, x, layer, kernel, code)
    return attention(tape, x.view(B, H * W, C), layer, kernel, code).view(B, H, W, C)


def in_windows(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, code: type[Code]) -> Tensor:
    """Attention over windows: (B, H, W, C) -> the same."""
    (B, *_, C), (h, w), (rows, columns) = x.shape, layer.windows.size, layer.windows.counts
    whole = padded(tape, x, layer.windows)
    # (B, rows, h, columns, w, C) -> (B, rows, columns, h, w, C)
    cut = whole.view(B, rows, h, columns, w, C).transpose(2, 3)
    windows = tape.reshape("window_partition", cut, B * rows * columns, h * w, C)
    free_unless_shared(tape, whole, (x, windows))
    y = attention(tape, windows, layer, kernel, code)
    free_unless_shared(tape, windows, (x,))
    joined = y.view(B, rows, columns, h, w, C).transpose(2, 3)
    together = tape.reshape("window_unpartition", joined, B, rows * h, columns * w, C)
    tape.free(y, keep=together)
    out = crop(tape, together, layer.grid)
    tape.free(together, keep=out)
    return out


def attention(tape: Tape, x: Tensor, layer: LayerConfig, kernel: str, code: type[Code]) -> Tensor:
    """Norm and attention: (M, N, C) -> the same."""
    (M, N, C), h = x.shape, layer.stage.num_heads
    with tape.module("attn"):
        tape.registers("attention_biases", "norm", "qkv", "proj")
        steps = code(tape, layer)
        bias = steps.bias_first()
        normed = tape.layer_norm("norm", x)
        qkv = tape.linear("qkv", normed, 3 * C, bias=layer.stage.qkv_bias)
        parts = qkv.view(M, N, h, 3 * (C // h)).split((C // h,) * 3, dim=3)  # (M, N, h, d) each
        q, k, v = (each.permute(0, 2, 1, 3) for each in parts)
        y, *kept = (steps.eager if kernel == "eager" else steps.sdpa)(q, k, v, normed, bias)
        out = tape.linear("proj", y, C)
        tape.free(y, *kept, qkv)
        if bias is not None:
            let_go(tape, bias)
    return out


def merged(tape: Tape, values: Tensor) -> Tensor:
    """The values of all heads side by side: (M, h, N, d) -> (M, N, C)."""
    M, h, N, d = values.shape
    return tape.reshape("merge_heads", values.transpose(1, 2), M, N, h * d)


def biases(tape: Tape, layer: LayerConfig) -> Tensor:
    """A bias for each head and pair of tokens, (h, N, N): a buffer, which a training step makes anew from the weight."""
    heads, (high, wide) = layer.stage.num_heads, layer.windows.size
    N = offsets = high * wide
    index = tape.buffer(N, N, item_bytes=INT64_BYTES)
    if tape.in_training_mode:
        return tape.gather(
            "biases", tape.parameter("attention_biases", heads, offsets), (index,), heads, N, N
        )
    tape.unused_weight("attention_biases", heads, offsets)
    return tape.buffer(heads, N, N)


def let_go(tape: Tape, bias: Tensor) -> None:
    """Free biases that were made in this pass."""
    if not bias.storage.is_weight:
        tape.free(bias)


def mlp(tape: Tape, x: Tensor, layer: LayerConfig) -> Tensor:
    """Norm, linear, GELU, linear: (B, L, C) -> the same."""
    with tape.module("mlp"):
        normed = tape.layer_norm("norm", x)
        hidden = tape.linear("fc1", normed, layer.stage.mlp_dim)
        tape.free(normed)
        wide = active(tape, "act", hidden)
        out = tape.linear("fc2", wide, x.shape[-1])
        tape.free(wide)
    return out


def patch_embed(tape: Tape, image: Tensor, part: PartConfig) -> Tensor:
    """(B, in_chans, height, width) -> (B, H, W, C)."""
    width = part.leaving.dim
    with tape.module("seq"):
        first = active(tape, "1", conv_norm(tape, "0", image, width // 2, 3, stride=2))
        y = conv_norm(tape, "2", first, width, 3, stride=2)
        tape.free(first)
    return y.permute(0, 2, 3, 1)


def merging(tape: Tape, x: Tensor, part: PartConfig, *, stride: int) -> Tensor:
    """Convolutions to the width of the next stage: (B, H, W, C) -> (B, H / stride, W / stride, C')."""
    image, width = x.permute(0, 3, 1, 2), part.leaving.dim
    first = active(tape, "act", conv_norm(tape, "conv1", image, width, 1))
    y = conv_norm(tape, "conv2", first, width, 3, stride=stride, groups=width)
    tape.free(first)
    second = active(tape, "act", y)
    y = conv_norm(tape, "conv3", second, width, 1)
    tape.free(second)
    return y.permute(0, 2, 3, 1)


BLOCKS = {"mbconv": mbconv, "tiny_vit": block}
PATCH_EMBEDS = {"conv_stem": patch_embed}
TRANSITIONS = {"conv_merging": partial(merging, stride=2), "conv_widening": partial(merging, stride=1)}
