"""ViT's and MAE's encoder on the Tape; the same pass in torch is `samattn_cli/families/plain/stack.py`.

Shapes: B batch, N tokens, L patches, C width, h heads, d = C / h.
"""

from __future__ import annotations

from functools import partial

from ...encoder.plan import PartConfig
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from ...units import ITEM_BYTES
from .axial_tape import BLOCKS as AXIAL
from .axial_tape import POS_EMBEDS as PREFIX
from .blocks_tape import block
from .mlps_tape import with_quick_gelu
from .rotary_tape import BLOCKS as ROTARY
from .rotary_tape import POS_EMBEDS as WITH_ROTARY
from .tokens_tape import POS_EMBEDS as TOKENS
from .words import visible

RANDOM_BYTES = ITEM_BYTES["float32"]
"""Bytes of a number from torch.rand and torch.ones, whose default dtype is float32."""


def mae(tape: Tape, x: Tensor, part: PartConfig) -> tuple[Tensor, ...]:
    """Adds fixed positions, masks patches, puts a class token first: (B, H, W, C) -> (B, 1 + visible, C).

    It also returns the order that restores the patches, and the mask: (B, L) each.
    """
    B, H, W, C = x.shape
    tape.registers("cls_token", "pos_embed")
    positions = _fixed(tape, "pos_embed", 1 + H * W, C)
    patches = tape.add("add", x.view(B, H * W, C), positions.slice(1, 1))
    tape.let_go()
    staying, restore, mask = random_masking(tape, patches, visible(part.config))
    tape.free(patches)
    token = tape.add("add_class", tape.used_weight("cls_token", 1, 1, C), positions.slice(1, 0, 1))
    out = tape.cat("cat", (token.expand_to(B, 1, C), staying), dim=1)
    tape.free(staying, token)
    return out, restore, mask


def _fixed(tape: Tape, name: str, tokens: int, width: int) -> Tensor:
    """A vector for each token that does not train."""
    with tape.weights(train=False):
        return tape.used_weight(name, 1, tokens, width)


def random_masking(tape: Tape, x: Tensor, staying: int) -> tuple[Tensor, Tensor, Tensor]:
    """The patches that stay (B, staying, C), the order that restores all patches, and the mask: (B, L) each."""
    B, L, C = x.shape
    noise = tape.computed("noise", B, L, item_bytes=RANDOM_BYTES)
    shuffle = tape.argsort("shuffle", noise)
    restore = tape.argsort("restore", shuffle)
    index = tape.repeat("index", shuffle.slice(1, 0, staying).unsqueeze(2), 1, 1, C)
    out = tape.gather_along("gather", x, index)
    tape.free(index)
    shuffled = tape.computed("mask", B, L, item_bytes=RANDOM_BYTES)
    tape.record("fill", "index", reads=(shuffled.slice(1, 0, staying),))
    mask = tape.gather_along("unshuffle", shuffled, restore)
    tape.free(shuffled, noise, shuffle)
    return out, restore, mask


def mae_decoder(tape: Tape, x: Tensor, part: PartConfig, restore: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
    """Norm, linear layer, mask tokens, patches in order again, positions: (B, 1 + visible, C) -> (B, 1 + L, D).

    It also returns the tensors that the public code keeps until its end: normed tokens, mask tokens, patches.
    """
    (B, N, _), (_, L), D = x.shape, restore.shape, part.leaving.dim
    latent = tape.layer_norm("norm", x)
    tape.let_go(restore, mask)
    x = tape.linear("decoder_embed", latent, D)
    masks = tape.repeat("mask_tokens", tape.used_weight("mask_token", 1, 1, D), B, L + 1 - N, 1)
    shuffled = tape.cat("cat", (x.slice(1, 1), masks), dim=1)
    index = tape.repeat("index", restore.unsqueeze(2), 1, 1, D)
    patches = tape.gather_along("unshuffle", shuffled, index)
    tape.free(shuffled, index)
    tokens = tape.cat("cat_class", (x.slice(1, 0, 1), patches), dim=1)
    tape.free(x)
    out = tape.add("add", tokens, _fixed(tape, "decoder_pos_embed", 1 + L, D))
    tape.free(tokens)
    return out, latent, masks, patches


def mae_pred(tape: Tape, x: Tensor, part: PartConfig, *kept: Tensor) -> Tensor:
    """Norm and a linear layer, without the class token: (B, 1 + L, D) -> (B, L, p * p * in_chans)."""
    normed = tape.layer_norm("decoder_norm", x)
    tape.let_go(*kept)
    out = tape.linear("decoder_pred", normed, part.leaving.dim)
    tape.free(normed)
    return out.slice(1, 1)


BLOCKS = {**ROTARY, **AXIAL, "plain": block, "clip": partial(block, mlp=with_quick_gelu)}
POS_EMBEDS = {**TOKENS, **PREFIX, **WITH_ROTARY, "mae": mae}
TRANSITIONS = {"mae_decoder": mae_decoder}
NECKS = {"mae_pred": mae_pred}
