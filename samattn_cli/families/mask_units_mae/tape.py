"""Hiera's MAE pretraining on the Tape; the same pass in torch is `samattn_cli/families/mask_units_mae/stack.py`.

Boolean indexing makes the places of all numbers that it takes or puts, one int64 for each dimension, forward and again backward.
The memory in which CUDA sorts them to add gradients is not modelled. Shapes: B batch, U mask units, V of them visible, s x s tokens of
a unit in a stage, f x f in the last, C width.
"""

from __future__ import annotations

from math import prod

from ...encoder.plan import PartConfig
from ...tape.derivatives import BOOL_BYTES
from ...tape.graph import Backward
from ...tape.storage import Dim
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...units import INT64_BYTES, ITEM_BYTES
from ..mask_units.shape import stride, unit_side
from ..mask_units.tape import unroll
from .words import last_side, pooled_stages, units, visible

FLOAT = ITEM_BYTES["float32"]
"""Bytes of a number from torch.rand, torch.zeros and ``Tensor.float()``."""


def masked_patches(tape: Tape, image: Tensor, part: PartConfig) -> tuple[Tensor, Tensor]:
    """Overlapping patches of visible pixels, (B, H, W, C), and the mask, (B, U)."""
    patch, (B, _, H, W) = part.config.patch_size, image.shape
    mask = random_mask(tape, B, prod(units(part.config)), visible(part.config))
    small = tape.computed("mask.float", B, 1, *units(part.config), item_bytes=FLOAT, reads=(mask,))
    resized = tape.interpolate("mask.resize", small, (H, W), "nearest")
    tape.free(small)
    flags = tape.computed("mask.flags", B, 1, H, W, item_bytes=BOOL_BYTES, reads=(resized,))
    pixels = tape.mul("mask_pixels", image, flags)
    tape.free(flags)
    y = tape.conv2d("proj", pixels, part.leaving.dim, 2 * patch - 1, stride=patch, padding=patch - 1)
    tape.free(pixels, resized)
    return y.permute(0, 2, 3, 1), mask


def random_mask(tape: Tape, B: Dim, number: Dim, staying: Dim) -> Tensor:
    """The units that stay in each image: (B, number) flags."""
    noise = tape.computed("noise", B, number, item_bytes=FLOAT)
    shuffle = tape.argsort("shuffle", noise)
    restore = tape.argsort("restore", shuffle)
    ordered = tape.computed("mask", B, number, item_bytes=FLOAT)
    tape.record("fill", "index", reads=(ordered.slice(1, 0, staying),))
    mask = tape.gather_along("unshuffle", ordered, restore)
    tape.free(ordered)
    flags = tape.computed("mask.bool", B, number, item_bytes=BOOL_BYTES, reads=(mask,))
    tape.free(noise, shuffle, restore, mask)
    return flags


def masking(tape: Tape, x: Tensor, part: PartConfig, mask: Tensor) -> Tensor:
    """A learned vector for each token, the order of mask units, those that are visible: (B, H, W, C) -> (B, V s s, C)."""
    (B, H, W, C), unit = x.shape, unit_side(part.config) ** 2
    added = tape.add_weight("add", x.view(B, H * W, C), tape.parameter("pos_embed", 1, H * W, C))
    tape.let_go(mask)
    ordered = unroll(tape, added.view(B, H, W, C), part.config)
    tape.free(added, keep=ordered)
    where = tape.repeat("mask_tokens", mask.unsqueeze(2), 1, unit, C)
    tokens = visible(part.config) * unit
    out = chosen(tape, "drop", ordered, where, B * tokens * C)
    tape.free(ordered, where)
    return out.view(B, tokens, C)


def chosen(tape: Tape, name: str, x: Tensor, where: Tensor, number: Dim) -> Tensor:
    """``x[where]``: (number,)."""
    at = _places(tape, name, where, number)
    out = tape.like(x, number)
    tape.record(name, "gather", reads=(out, at), writes=(out,))
    tape.free(at)

    def backward(tape: Tape, g: Tensor) -> tuple[Tensor]:
        grad = tape.like(g, *x.shape)
        tape.record("zeros", "copy", writes=(grad,))
        at = _places(tape, "backward", where, number)
        tape.record("add", "index", reads=(g, at))
        tape.free(at)
        return (grad,)

    return tape.derived(name, out, (x,), backward, saves=(where,))


def placed(tape: Tape, name: str, x: Tensor, where: Tensor, values: Tensor) -> Tensor:
    """``x[where] = values`` for `x` without a gradient: `x`."""
    at = _places(tape, name, where, values.elements)
    tape.record(name, "index", reads=(values, at))
    tape.free(at)

    def taken(tape: Tape, g: Tensor) -> tuple[None, Tensor]:
        at = _places(tape, "backward", where, values.elements)
        out = tape.like(g, values.elements)
        tape.record("grad_values", "gather", reads=(out, at), writes=(out,))
        tape.free(at)
        return None, out

    backward: Backward = taken
    return tape.derived("zeros", x, (x, values), backward, saves=(where,))


def _places(tape: Tape, name: str, where: Tensor, number: Dim) -> Tensor:
    """``where.nonzero()``."""
    return tape.computed(f"{name}.nonzero", number, len(where.shape), item_bytes=INT64_BYTES, reads=(where,))


def decoder(tape: Tape, x: Tensor, part: PartConfig, *taps: Tensor) -> Tensor:
    """The last stage's tokens, those of the stages before that are pooled, and the mask -> (B, L, D)."""
    *finer, mask = taps
    (B, U), D, f = mask.shape, part.leaving.dim, last_side(part.config)
    tape.registers(
        "mask_token", "decoder_pos_embed", "multi_scale_fusion_heads", "encoder_norm", "decoder_embed"
    )
    fused = _fused(tape, x, part, finer)
    normed = tape.layer_norm("encoder_norm", fused)
    tape.free(fused)
    visible_tokens = tape.linear("decoder_embed", normed, D)
    tape.free(normed)
    zeros = tape.constant("zeros", visible_tokens, B, U, f, f, D)
    where = mask.view(B, U, 1, 1, 1).expanded((B, U, f, f, D))
    whole = placed(tape, "put", zeros, where, visible_tokens.view(visible_tokens.elements))
    hidden = tape.computed("mask.invert", B, U, f, f, D, item_bytes=BOOL_BYTES, reads=(where,))
    masks = tape.mul("mask_tokens", hidden, tape.used_weight("mask_token", 1, 1, D).view(1, 1, 1, 1, D))
    tape.free(hidden)
    shown = tape.mul("visible", where, whole)
    decoded = tape.add("add_masks", masks, shown)
    tape.free(masks, shown, zeros)
    (rows, columns), (H, W) = units(part.config), part.leaving.grid
    squares = decoded.view(B, rows, columns, f, f, D).permute(0, 1, 3, 2, 4, 5)
    tokens = tape.reshape("undo_windowing", squares, B, H * W, D)
    tape.free(visible_tokens)
    out = tape.add_weight("add", tokens, tape.parameter("decoder_pos_embed", 1, H * W, D))
    tape.free(decoded, tokens)
    return out


def _fused(tape: Tape, x: Tensor, part: PartConfig, finer: list[Tensor]) -> Tensor:
    """The sum of the stages, each reduced to f x f tokens of a unit: (B, V, f, f, C)."""
    side, f, first = stride(part.config), last_side(part.config), unit_side(part.config)
    sides = [first // side**number for number in range(pooled_stages(part.config) + 1)]
    maps = [
        reroll(tape, f"reroll.{number}", each, unit, side)
        for number, (each, unit) in enumerate(zip([*finer, x], sides, strict=True))
    ]
    total: Tensor | None = None
    for number, (each, unit) in enumerate(zip(maps, sides, strict=True)):
        reduced = each if number == len(finer) else _reduced(tape, number, each, part, unit // f)
        total = _added(tape, f"fuse.{number}", total, reduced)
        if reduced is not each:
            tape.free(reduced)
    tape.free(*(each for each, own in zip(maps, [*finer, x], strict=True) if each.storage is not own.storage))
    assert total is not None  # noqa: S101 - there is always a last stage; for the type checker
    return total


def _added(tape: Tape, name: str, total: Tensor | None, x: Tensor) -> Tensor:
    """``total += x``, which is a new tensor at first."""
    if total is None:
        return tape.add_number(name, x)
    tape.add_(name, total, x)
    return tape.derived(name, total, (total, x), lambda _, g: (g, g))


def _reduced(tape: Tape, number: int, x: Tensor, part: PartConfig, kernel: int) -> Tensor:
    """(B, V, s, s, C) -> (B, V, f, f, C')."""
    (B, V, s, _, C), f = x.shape, last_side(part.config)
    image = x.view(B * V, s, s, C).permute(0, 3, 1, 2)
    name = f"multi_scale_fusion_heads.{number}"
    y = tape.conv2d(name, image, part.entering.dim, kernel, stride=kernel).permute(0, 2, 3, 1)
    out = tape.reshape(f"restore.{number}", y, B, V, f, f, part.entering.dim)
    tape.free(y, keep=out)
    return out


def reroll(tape: Tape, name: str, x: Tensor, unit: int, side: int) -> Tensor:
    """Tokens in the order of mask units as units of tokens: (B, N, C) -> (B, V, unit, unit, C). `x` is not freed."""
    (B, N, C), own, whole = x.shape, 1, x
    while own < unit:
        N = N // side**2
        parts = whole.view(B, side, side, N, own, own, C).permute(0, 3, 1, 4, 2, 5, 6)
        own *= side
        copy = tape.reshape(f"{name}.{own}", parts, B, N, own, own, C)
        if whole.storage not in {x.storage, copy.storage}:
            tape.free(whole)
        whole = copy
    return whole.view(B, N, own, own, C)


def prediction(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Norm and a linear layer: (B, L, D) -> (B, L, pixels * in_chans)."""
    normed = tape.layer_norm("decoder_norm", x)
    tape.let_go()
    out = tape.linear("decoder_pred", normed, part.leaving.dim)
    tape.free(normed)
    return out


PATCH_EMBEDS = {"masked_overlapping": masked_patches}
POS_EMBEDS = {"mask_units_mae": masking}
TRANSITIONS = {"hiera_decoder": decoder}
NECKS = {"hiera_pred": prediction}
