"""The tokens in front of the patches on the Tape; the same pass in torch is `tokens_stack.py`.

Shapes: B batch, H x W grid, R tokens in front, C width.
"""

from __future__ import annotations

from ...encoder.model import EncoderConfig
from ...encoder.plan import PartConfig
from ...tape.storage import Dim, Shape
from ...tape.tape import Tape
from ...tape.tensor import Tensor
from .tokens import tokens_in_front


def class_token(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """A class token first, positions, then registers between it and the patches: (B, H, W, C) -> (B, 1 + R + HW, C)."""
    B, H, W, C = x.shape
    token, *registers = front_tokens(tape, part.config, B, C)
    tokens = tape.cat("cat", (token, x.view(B, H * W, C)), dim=1)
    placed = _add_positions(tape, tokens, part, (H, W), 1)
    tape.free(tokens)
    if not registers:
        return placed
    out = tape.cat("cat_registers", (placed.slice(1, 0, 1), *registers, placed.slice(1, 1)), dim=1)
    tape.free(placed)
    return out


def all_tokens(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Tokens in front, then positions: (B, H, W, C) -> (B, R + HW, C)."""
    B, H, W, C = x.shape
    in_front = front_tokens(tape, part.config, B, C)
    patches = x.view(B, H * W, C)
    tokens = tape.cat("cat", (*in_front, patches), dim=1) if in_front else patches
    out = _add_positions(tape, tokens, part, (H, W), tokens_in_front(part.config))
    if in_front:
        tape.free(tokens)
    return out


def patches(tape: Tape, x: Tensor, part: PartConfig) -> Tensor:
    """Positions, then tokens in front: (B, H, W, C) -> (B, R + HW, C)."""
    B, H, W, C = x.shape
    in_front = front_tokens(tape, part.config, B, C)
    placed = _add_positions(tape, x.view(B, H * W, C), part, (H, W), 0)
    if not in_front:
        return placed
    out = tape.cat("cat", (*in_front, placed), dim=1)
    tape.free(placed)
    return out


def front_tokens(tape: Tape, config: EncoderConfig, B: Dim, C: Dim) -> list[Tensor]:
    """The class token and the registers, (B, 1, C) and (B, R, C); those that there are."""
    numbers = {"cls_token": int(config.class_token), "reg_token": config.reg_tokens}
    return [
        tape.used_weight(name, 1, number, C).expand_to(B, number, C)
        for name, number in numbers.items()
        if number
    ]


def _add_positions(tape: Tape, x: Tensor, part: PartConfig, size: Shape, placed: int) -> Tensor:
    """`x` plus the positions of `placed` tokens in front and of patches (H, W): (B, placed + HW, C)."""
    made_for, (H, W), C = part.config.pretrain_grid, size, x.shape[-1]
    if made_for[0] == H and made_for[1] == W:
        return tape.add_weight("add", x, tape.parameter("pos_embed", 1, placed + H * W, C))
    positions = resized_positions(tape, made_for, size, C, placed)
    out = tape.add("add", x, positions)
    tape.free(positions)
    return out


def resized_positions(tape: Tape, made_for: Shape, size: Shape, C: Dim, placed: int = 1) -> Tensor:
    """The vectors of tokens in front, and those of patches (h, w) resized to (H, W): (1, placed + HW, C)."""
    (h, w), (H, W) = made_for, size
    weight = tape.used_weight("pos_embed", 1, placed + h * w, C)
    of_tokens = weight.slice(1, 0, placed) if placed else None
    of_patches = weight.slice(1, placed).view(1, h, w, C).permute(0, 3, 1, 2)
    resized = tape.interpolate("resize", of_patches, (H, W), "bicubic").permute(0, 2, 3, 1)
    if of_tokens is None:
        return resized.view(1, H * W, C)
    out = tape.cat("cat_positions", (of_tokens, resized.view(1, H * W, C)), dim=1)
    tape.free(resized)
    return out


POS_EMBEDS = {"class_token": class_token, "tokens": all_tokens, "patches": patches}
