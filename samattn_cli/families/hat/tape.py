"""HAT on the Tape; the same pass in torch, with its sources, is `samattn_cli/families/hat/stack.py`.

Shapes: B batch, H x W grid of pixels, C width, c channels of the image, h heads, d = C / h, M = B * windows, N tokens of a
window of queries, K of a window of keys, r upscale.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ...encoder.plan import LayerConfig, PartConfig
from ...tape.storage import Shape
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...tape.windows import cut, free_unless_shared, join, shifted, shifted_back
from ...units import INT64_BYTES
from ..swin.tape import bias_of, eager, mlp, weighed
from ..swinir.tape import before_upsampling, restored, shuffled
from .words import OVERLAPPING, reach, shared_window, shares


def pixels(tape: Tape, image: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """Tokens (B, H, W, C), the features of the first convolution (B, C, H, W), the mean of channels, then what blocks share."""
    tape.registers("conv_first", "norm")
    mean = tape.buffer(1, image.shape[1], 1, 1)
    x = normalized(tape, image, part, mean)
    features = tape.conv2d("conv_first", x, part.leaving.dim, 3, padding=1)
    tape.free(x)
    shared = shared_by_blocks(tape, features, part)
    tokens = tape.layer_norm("norm", features.permute(0, 2, 3, 1))
    return (tokens, features, mean, *shared)


def normalized(tape: Tape, image: Tensor, part: PartConfig, mean: Tensor) -> Tensor:
    """The image, padded to whole windows, minus the mean of each channel, times its range: (B, c, H, W)."""
    is_whole = part.leaving.grid == part.config.image_size
    padded = image if is_whole else tape.pad_image("pad", image, part.leaving.grid)
    centred = tape.sub("sub_mean", padded, mean)
    out = tape.scale("img_range", centred)
    tape.free(centred, *(() if is_whole else (padded,)))
    return out


def shared_by_blocks(tape: Tape, like: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """The mask of shifted windows (windows, N, N), and the rows of the tables: of windows (N, N), of overlapping ones (N, K)."""
    window = shared_window(part.config)
    if window is None:
        return ()
    N = prod(window)
    index = tape.buffer(N, N, item_bytes=INT64_BYTES)
    overlapping = tape.buffer(N, prod(_keys_of_shared(part, window)), item_bytes=INT64_BYTES)
    (H, W), (h, w) = part.leaving.grid, window
    mask = tape.constant("attn_mask", like, (H // h) * (W // w), N, N)
    return mask, index, overlapping


def _keys_of_shared(part: PartConfig, window: Shape) -> Shape:
    """The windows of keys of the first stage that has them."""
    found = (
        stage for stage in part.config.stages if stage.block == OVERLAPPING and stage.window_size == window
    )
    more = next(map(reach, found), (0, 0))
    return tuple(side + by for side, by in zip(window, more, strict=True))


def hybrid(tape: Tape, x: Tensor, _features: Tensor, _mean: Tensor, *rest: Any) -> Tensor:
    """Norm, attention and channel attention, shortcut; norm, MLP, shortcut: (B, H, W, C) -> the same."""
    *shared, layer, _kernel = rest
    return _hybrid(tape, x, layer, *shared)


def _hybrid(
    tape: Tape,
    x: Tensor,
    layer: LayerConfig,
    mask: Tensor | None = None,
    index: Tensor | None = None,
    *_: Tensor,
) -> Tensor:
    tape.registers("norm1", "attn", "conv_block", "norm2", "mlp")
    shortcut, normed = x, tape.layer_norm("norm1", x)
    convolved = channel_attention(tape, normed, layer)
    y, kept = attend(
        tape, normed, layer, mask if layer.is_shifted else None, index if shares(layer) else None
    )
    attended = tape.add("add_attn", shortcut, y)
    scaled = tape.scale("conv_scale", convolved)
    x = tape.add("add_conv", attended, scaled)
    tape.free(attended, scaled)
    free_unless_shared(tape, normed, kept)
    return with_mlp(tape, x, layer, convolved, *kept)


def with_mlp(tape: Tape, x: Tensor, layer: LayerConfig, *kept: Tensor) -> Tensor:
    """Norm, MLP, shortcut; then frees what the block has names for: (B, H, W, C) -> the same."""
    normed = tape.layer_norm("norm2", x)
    y = mlp(tape, normed, layer)
    tape.free(normed)
    out = tape.add("add_mlp", x, y)
    tape.free(x, y, *kept)
    return out


def channel_attention(tape: Tape, x: Tensor, layer: LayerConfig) -> Tensor:
    """Two convolutions, then a factor for each channel, from the mean over all tokens: (B, H, W, C) -> the same."""
    C, stage = x.shape[-1], layer.stage
    with tape.module("conv_block"), tape.module("cab"):
        narrow = tape.conv2d("0", x.permute(0, 3, 1, 2), C // stage.compress_ratio, 3, padding=1)
        active = tape.gelu("1", narrow)
        tape.free(narrow)
        wide = tape.conv2d("2", active, C, 3, padding=1)
        tape.free(active)
        with tape.module("3"):
            out = squeezed(tape, wide, C // stage.squeeze_factor)
    tokens = tape.contiguous("to_tokens", out.permute(0, 2, 3, 1))
    tape.free(out, keep=tokens)
    return tokens


def squeezed(tape: Tape, x: Tensor, width: int) -> Tensor:
    """Each channel times a factor, which two linear layers make of the means of all channels: (B, C, H, W) -> the same."""
    with tape.module("attention"):
        with tape.module("0"):
            mean = tape.mean_of_image("", x)
        narrow = tape.relu_("2", tape.conv2d("1", mean, width, 1))
        tape.free(mean)
        wide = tape.conv2d("3", narrow, x.shape[1], 1)
        tape.free(narrow)
        factors = tape.sigmoid("4", wide)
        tape.free(wide)
    out = tape.mul("scale_channels", x, factors)
    tape.free(x, factors)
    return out


def attend(
    tape: Tape, x: Tensor, layer: LayerConfig, mask: Tensor | None, index: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Attention in windows, (B, H, W, C) -> the same, and the tensors that the authors' forward keeps until its end."""
    rolled = shifted(tape, x) if layer.is_shifted else x
    windows = cut(tape, rolled, layer.windows)
    windows = windows.view(windows.shape[0], prod(layer.windows.size), x.shape[-1])
    with tape.module("attn"):
        attended = eager(tape, windows, layer, mask, index=index)
    joined = join(tape, attended, layer.windows)
    if rolled is not x:
        free_unless_shared(tape, rolled, (windows,))
    y = shifted_back(tape, joined) if layer.is_shifted else joined
    return y, (windows, attended, joined, y)


def overlapping(tape: Tape, x: Tensor, _features: Tensor, _mean: Tensor, *rest: Any) -> Tensor:
    """Norm, attention to larger windows, shortcut; norm, MLP, shortcut: (B, H, W, C) -> the same."""
    *shared, layer, _kernel = rest
    return _overlapping(tape, x, layer, *shared)


def _overlapping(
    tape: Tape,
    x: Tensor,
    layer: LayerConfig,
    _mask: Tensor | None = None,
    _: Tensor | None = None,
    index: Tensor | None = None,
) -> Tensor:
    shortcut, normed = x, tape.layer_norm("norm1", x)
    with tape.module("attn"):
        y, kept = cross_attend(tape, normed, layer, index if shares(layer) else None)
        joined = join(tape, y, layer.windows)
        tape.free(normed)
        projected = tape.linear("proj", joined, x.shape[-1])
    x = tape.add("add_attn", projected, shortcut)
    tape.free(projected)
    free_unless_shared(tape, joined, (y,))
    return with_mlp(tape, x, layer, y, *kept)


def cross_attend(
    tape: Tape, x: Tensor, layer: LayerConfig, index: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Queries of windows, keys of larger ones, (B, H, W, C) -> (M, N, C), and the tensors that live until the block's end."""
    (B, H, W, C), heads = x.shape, layer.stage.num_heads
    qkv = tape.linear("qkv", x, 3 * C, bias=layer.stage.qkv_bias)
    # (B, H, W, 3C) -> (3, B, C, H, W)
    apart = qkv.view(B, H, W, 3, C).permute(3, 0, 4, 1, 2)
    q = apart.select(0).permute(0, 2, 3, 1)
    both = tape.cat("keys_values", (apart.select(0), apart.select(0)), 1)
    queries = cut(tape, q, layer.windows)
    queries = queries.view(queries.shape[0], prod(layer.windows.size), C)
    larger = larger_windows(tape, both, layer)
    each = larger.select(0), larger.select(0)
    q, keys, values = (in_heads(x, heads) for x in (queries, *each))
    scaled = tape.scale("scale", q)
    scores = tape.scores(scaled, keys)  # (M, h, N, K)
    bias = overlapping_bias(tape, layer, index)
    y, probabilities = weighed(tape, scores, bias, None, values)
    return y, (qkv, both, queries, larger, scaled, bias, probabilities)


def larger_windows(tape: Tape, x: Tensor, layer: LayerConfig) -> Tensor:
    """Keys and values (B, 2C, H, W) of windows that overlap: (2, M, K, C)."""
    (B, twice, *_), size, window = x.shape, layer.keys_size, layer.windows.size
    padding = tuple((larger - side) // 2 for larger, side in zip(size, window, strict=True))
    columns = tape.unfold("unfold", x, size, stride=window, padding=padding)
    C, K, windows = twice // 2, prod(size), columns.shape[-1]
    # (B, 2 * C * K, windows) -> (2, B, windows, K, C)
    apart = columns.view(B, 2, C, K, windows).permute(1, 0, 4, 3, 2)
    together = tape.reshape("merge_windows", apart, 2, B * windows, K, C)
    out = tape.contiguous("larger_windows", together)
    free_unless_shared(tape, columns, (out,))  # of one pixel they are the same
    return out


def in_heads(x: Tensor, heads: int) -> Tensor:
    """(M, N, C) -> (M, h, N, d)."""
    M, N, C = x.shape
    return x.view(M, N, heads, C // heads).permute(0, 2, 1, 3)


def overlapping_bias(tape: Tape, layer: LayerConfig, index: Tensor | None) -> Tensor:
    """The bias of the scores of a window of queries and a larger one of keys: (h, N, K)."""
    size, window = layer.keys_size, layer.windows.size
    entries = prod(larger + side - 1 for larger, side in zip(size, window, strict=True))
    where = tape.buffer(prod(window), prod(size), item_bytes=INT64_BYTES) if index is None else index
    return bias_of(tape, entries, where, layer.stage.num_heads)


def group(tape: Tape, x: Tensor, _part: PartConfig, before: Tensor, *kept: Tensor) -> Tensor:
    """The end of a group: (B, H, W, C), and what entered the group, -> the same; `kept` lives on."""
    image = tape.contiguous("to_image", x.permute(0, 3, 1, 2))
    is_copy = image.storage is not x.storage
    if is_copy:
        tape.let_go(before, *kept)
    y = tape.conv2d("conv", image, image.shape[1], 3, padding=1)
    if is_copy:
        tape.free(image)
    else:
        tape.let_go(before, *kept)
    out = tape.add("add", y.permute(0, 2, 3, 1), before)
    tape.free(y)
    return out


def body(
    tape: Tape, x: Tensor, part: PartConfig, before: Tensor, features: Tensor, *shared: Tensor
) -> Tensor:
    """Ends the last group; a norm, a convolution and the features of the first one: (B, H, W, C) -> (B, C, H, W)."""
    tape.registers("group", "norm", "conv_after_body")
    with tape.module("group"):
        y = group(tape, x, part, before, features, *shared)
    tape.let_go(features, *shared)
    normed = tape.layer_norm("norm", y)
    tape.free(y)
    image = tape.contiguous("to_image", normed.permute(0, 3, 1, 2))
    tape.free(normed, keep=image)
    tape.let_go(features)
    convolved = tape.conv2d("conv_after_body", image, image.shape[1], 3, padding=1)
    tape.free(image)
    out = tape.add("add_features", convolved, features)
    tape.free(convolved)
    return out


def pixelshuffle(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, out_chans, r height, r width)."""
    mean = taps[2]
    y = body(tape, x, part, *taps)
    tape.let_go()
    out = shuffled(tape, before_upsampling(tape, y), part)
    return restored(tape, out, part, mean=lambda *_: mean)


BLOCKS = {"hybrid_attention": hybrid, "overlapping_cross_attention": overlapping}
PATCH_EMBEDS = {"hat_pixels": pixels}
TRANSITIONS = {"residual_hybrid_group": group}
NECKS = {"hat_pixelshuffle": pixelshuffle}
