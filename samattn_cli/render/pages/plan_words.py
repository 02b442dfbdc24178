"""A choice of a plan in words, for its page and its chart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...reports.plan import PlanCard, PlanChoice
from ...units import format_bytes, format_count, format_ms, format_percent

NOTHING = "-"
AGAIN = "computed again"
SENT = "sent"
DIGITS = 3
"""Of money that is less than 1."""
MEANINGS = {
    "ddp views": "gradients are views of DDP's buckets (gradient_as_bucket_view)",
    "zero1 views": "ZeRO-1 whose gradients are views of DDP's buckets",
    "fsdp2": "weights are freed after a block's forward (as zero3)",
    "fsdp2 kept": "gathered weights stay until the backward (the same as zero2; reshard_after_forward false)",
    "zero2": "FSDP2 whose gathered weights stay until the backward (the same as fsdp2 kept)",
    "zero3": "FSDP2 whose gathered weights are freed after a block's forward (the same as fsdp2)",
    "bfloat16 policy": "weights gathered in bfloat16, gradients reduced in float32",
}
"""What strategies and precisions mean that are not words of a config."""


def in_words(choice: PlanChoice) -> str:
    """What a choice is: "ddp, bfloat16 autocast, sdpa attention, no checkpointing, 4 images x 2 forwards"."""
    again = "no checkpointing" if choice.checkpointing == "none" else f"checkpointing {choice.checkpointing}"
    images = f"{choice.batch_size} image{'' if choice.batch_size == 1 else 's'} a forward"
    forwards = "" if choice.accumulate == 1 else f" x {choice.accumulate} forwards"
    return f"{choice.strategy}, {choice.precision}, {choice.attention} attention, {again}, {images}{forwards}"


def meanings(choices: Sequence[PlanChoice]) -> str:
    """What the words of some choices mean, as sentences after others."""
    words = dict.fromkeys(word for choice in choices for word in (choice.strategy, choice.precision))
    return "".join(f" {word}: {MEANINGS[word]}." for word in words if word in MEANINGS)


def layer_of(operation: str) -> str:
    """The part or block of an operation: "blocks.11" of "blocks.11.mlp.act (backward)"."""
    first, *rest = operation.partition(" ")[0].split(".")
    return ".".join([first, *rest[:1]]) if rest and rest[0].isdecimal() else first


def taken(choice: PlanChoice, card: PlanCard) -> tuple[str, str]:
    """What a GPU reserves, and how much of what it can use that is."""
    return format_bytes(choice.taken_bytes), share_of(choice, card)


def share_of(choice: PlanChoice, card: PlanCard) -> str:
    """How much of what a process can use of a card a choice takes."""
    return format_percent(choice.taken_bytes / card.usable_bytes)


def cost(amount: float | None) -> str:
    """Money in whole hundredths, or in three digits where it is less than 1."""
    if amount is None:
        return NOTHING
    if amount >= 1 or not amount:
        return f"{amount:,.2f}"
    return f"{amount:.{DIGITS - 1 - math.floor(math.log10(amount))}f}"


def has_cuda(choices: Sequence[PlanChoice]) -> bool:
    """Whether the allocator was replayed for one of them; where nothing can be launched, too."""
    return any(choice.reserved_bytes is not None for choice in choices) or not any(
        choice.live_bytes for choice in choices
    )


def is_timed(choices: Sequence[PlanChoice]) -> bool:
    """Whether there is a device, by which choices have times."""
    return any(choice.step_ms is not None for choice in choices)


def work(choice: PlanChoice) -> str:
    """How long a step takes; without a device, what it computes again and sends."""
    if choice.step_ms is not None:
        return f"{format_ms(choice.step_ms)} a step"
    return f"{amount(choice.recomputed_flops, 'FLOP')} {AGAIN}, {amount(choice.sent_bytes, 'B')} {SENT}"


def amount(value: int, unit: str) -> str:
    """So many FLOPs or bytes; "-" if there are none."""
    if not value:
        return NOTHING
    return format_bytes(value) if unit == "B" else format_count(value, unit)


def memory_of(choices: Sequence[PlanChoice]) -> str:
    """The header of what each takes."""
    return "reserved" if has_cuda(choices) else "at least"
