"""Whether one operation is the answer, several could be, or none is."""

from __future__ import annotations

from collections.abc import Sequence

from ...reports.oom import OomCandidate, OomMessage, Verdict
from ...tape.allocator import SHARED_SEGMENT, SMALL_SEGMENT
from .chance import Chance
from .rank import NEAR

RARE = 0.05
"""A share of sizes so small that a match by chance is unlikely."""
CLEAR = 0.1
"""How much likelier an operation is than the next, to be the answer alone."""
LITTLE = 1 << 20
VAGUE = 0.25
"""The same, of an operation with less live than is allocated: what runs beside the encoder can be anything."""


def verdict_of(candidates: Sequence[OomCandidate], message: OomMessage, chance: Chance) -> Verdict:
    """One operation, if no other is as likely and something besides the size speaks for it; or what could be; or none."""
    if not candidates:
        return "none"
    first = candidates[0]
    within = within_of(first, message)
    is_clear = not any(alike_to(first, other, within, setting=True) for other in candidates[1:])
    return "operation" if is_clear and _is_borne_out(candidates, message, chance) else "possible"


def within_of(first: OomCandidate, message: OomMessage) -> float:
    """How much less likely another operation must be: more, if how much runs beside the encoder is not known."""
    is_known = (
        first.runs_out_here or first.in_traceback or message.allocated is None or _is_near(first, message)
    )
    return CLEAR if is_known else VAGUE


def alike_to(first: OomCandidate, other: OomCandidate, within: float, *, setting: bool = False) -> bool:
    """Whether another operation is about as likely as the first; or the same operation, in another setting.

    Unless a replay runs out at the first, one whose live bytes are what is allocated is as likely: which request finds a free block
    depends on the addresses of segments, which the driver chooses.
    """
    is_other = (other.op, other.phase) != (first.op, first.phase) or (setting and other.set != first.set)
    is_proven = first.runs_out_here and first.segment_bytes not in (SMALL_SEGMENT, SHARED_SEGMENT)
    is_exact = other.beside_bytes is not None and abs(other.beside_bytes) <= LITTLE and not is_proven
    return is_other and (is_exact or other.score - first.score <= within)


def _is_borne_out(candidates: Sequence[OomCandidate], message: OomMessage, chance: Chance) -> bool:
    """Whether live bytes or the traceback agree with an operation, or no other asks for its size, which few have.

    How much runs beside the encoder is not known, so live bytes that are not near what is allocated speak for no operation.
    """
    first, *others = candidates
    if first.in_traceback is False:
        return False
    near = message.allocated is not None and _is_near(first, message) and not is_shared(message)
    alone = all((other.op, other.phase) == (first.op, first.phase) for other in others)
    return first.runs_out_here or near or first.in_traceback is True or (alone and chance.share < RARE)


def _is_near(candidate: OomCandidate, message: OomMessage) -> bool:
    """Whether what is live before an operation is nearly all that a message has allocated."""
    allocated = message.allocated
    return allocated is not None and (candidate.beside_bytes or 0) <= NEAR * allocated.high_bytes


def is_shared(message: OomMessage) -> bool:
    """Whether the size is that of a segment that requests share: every small one asks for it, whatever its own size."""
    tried = message.tried
    return any(tried.low_bytes <= size <= tried.high_bytes for size in (SMALL_SEGMENT, SHARED_SEGMENT))
