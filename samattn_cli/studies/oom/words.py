"""The answer in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from ...encoder.model import EncoderConfig
from ...reports.oom import OomCandidate, OomMessage, Verdict
from ...units import format_bytes
from .verdict import alike_to, is_shared, within_of

MOST_NAMED = 6
PATCHES = " patches"
"""In the setting of a candidate whose number of patches is solved for."""
AFTER = "look at what runs after it, or beside it: a decoder, a head, the loss, another model"


def sentence_of(
    verdict: Verdict,
    candidates: Sequence[OomCandidate],
    message: OomMessage,
    config: EncoderConfig | None,
) -> str:
    """The verdict in words."""
    if verdict == "none":
        whose = "of any preset" if config is None else "of this encoder"
        return f"no operation {whose} asks for {message.tried.text}; {AFTER}"
    first, *others = candidates
    within = within_of(first, message)
    alike = {(each.preset, each.op, each.phase) for each in others if alike_to(first, each, within)}
    if verdict == "possible" and alike:
        return _many(len(alike) + 1, message, config)
    name = first.preset if config is None else config.name
    setting = f", with {first.setting}" if first.setting else ""
    what = f"{place_of(first)} ({first.phase}) asks for {format_bytes(first.segment_bytes)}{setting}"
    if verdict == "operation":
        return f"this is {name}: {what}"
    return f"this may be {name}: {what}. {_doubt(first, others)}"


def _doubt(first: OomCandidate, others: Sequence[OomCandidate]) -> str:
    """Why an operation is not the answer for certain."""
    rest = {(each.preset, each.set, each.op, each.phase) for each in others}
    rest.discard((first.preset, first.set, first.op, first.phase))  # in other layers
    unproven = "the message alone does not prove it"
    if PATCHES in first.setting:
        unproven = f"some number of patches fits nearly any size, so {unproven}"
    text = f"it is the likeliest of {len(rest) + 1}, and {unproven}" if rest else unproven
    return f"{text[0].upper()}{text[1:]}"


def _many(operations: int, message: OomMessage, config: EncoderConfig | None) -> str:
    """The answer where several operations are as likely: how many, and what would tell them apart."""
    whose = "of the presets" if config is None else f"of {config.name}"
    why = (
        ": torch's allocator requests segments of that size for small tensors of any size"
        if is_shared(message)
        else ""
    )
    return (
        f"{operations} operations {whose} ask for {message.tried.text}, and are about equally likely{why}. To tell them apart, "
        "give the whole traceback, or what is not given of batch size, type, mode and image size"
    )


def place_of(candidate: OomCandidate) -> str:
    """The full name of an operation: of several layers, their numbers."""
    first, *others = candidate.layers
    name = ".".join(filter(None, (first, candidate.op)))
    if not others:
        return name
    numbers = [each.removeprefix("blocks.") for each in candidate.layers]
    left = len(numbers) - MOST_NAMED
    named, last = (numbers[:MOST_NAMED], f"{left} more") if left > 0 else (numbers[:-1], numbers[-1])
    return f"{candidate.op} of {'blocks' if first.startswith('blocks.') else 'parts'} {', '.join(named)} or {last}"
