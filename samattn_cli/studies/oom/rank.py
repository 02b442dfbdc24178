"""Candidates: requests that fit a message, grouped by operation, the likeliest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ...records import dataclass, replace
from ...reports.oom import OomCandidate, OomMessage
from .code import knows, line_of, runs
from .solve import NOT_FIRST, ROOM, Setting

if TYPE_CHECKING:
    from ...tape.timeline import Asked

NEAR = 0.02
"""Live bytes that are this near to what a message has allocated are as good as equal."""
CARDS = (4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 141, 192)
"""The memory of usual GPUs, in GiB."""
NOT_SERVED, NO_CARD, NOT_IN_TRACEBACK, RUNS_OUT = 0.1, 0.1, 3.0, -0.3
ALIKE = 0.02
"""Scores of layers that are as likely."""
TOO_MUCH = 10
"""How much more it counts that an encoder alone has more live than a message says, than that it has less."""


@dataclass(frozen=True)
class Match:
    """A request that fits a message, in a setting."""

    setting: Setting
    asked: Asked
    runs_out: bool = False
    preset: str = ""

    def score(self, message: OomMessage) -> float:
        """How unlikely it is: less is likelier."""
        asked, allocated = self.asked, message.allocated
        score = 0.0
        if self.runs_out:
            score += RUNS_OUT
        if in_traceback(self, message) is False:
            score += NOT_IN_TRACEBACK
        if not self.runs_out:
            score += (0 if asked.is_record else NOT_FIRST) + (0 if asked.from_device else NOT_SERVED)
        if allocated is not None:
            return score + _unlikely(beside(asked, message) or 0) / allocated.high_bytes
        return score + (0 if _has_card(asked) else NO_CARD)

    def order(self, message: OomMessage) -> tuple[object, ...]:
        """The likeliest first: by score, then the fewest changes, the smallest batch, the earliest."""
        keys = dict(self.setting.keys)
        batch = self.setting.config.run.batch_size
        odd = batch & (batch - 1) != 0
        return (round(self.score(message) / NEAR), len(keys) + odd, batch, self.asked.need_bytes)


def _unlikely(more: int) -> int:
    """Something often runs beside an encoder; but a message can hardly have less allocated than the encoder alone."""
    return more if more >= 0 else -TOO_MUCH * more


def beside(asked: Asked, message: OomMessage) -> int | None:
    """What a message has allocated beside what is live in the encoder; 0 within the printed digits."""
    if message.allocated is None:
        return None
    more = message.allocated.high_bytes - asked.live_bytes
    within = message.allocated.low_bytes <= asked.live_bytes <= message.allocated.high_bytes
    return 0 if within else more


def _has_card(asked: Asked) -> bool:
    """Whether it is the first to have no room on a usual GPU."""
    return any(asked.most_before < card << 30 <= asked.need_bytes for card in CARDS)


def is_possible(asked: Asked, message: OomMessage) -> bool:
    """Whether a message can have so much live in the encoder."""
    return message.allocated is None or asked.live_bytes <= message.allocated.high_bytes * (1 + ROOM)


def in_traceback(match: Match, message: OomMessage) -> bool | None:
    """Whether the innermost call of the traceback runs the operation; None where that is not known."""
    phase = phase_of(match.asked)
    goes_back = any("backward" in frame.function for frame in message.frames)
    if message.frames and goes_back != (phase == "backward"):
        return False
    config = match.setting.config
    if goes_back or knows(config, message.frames) is None:
        return None
    line = line_of(config, match.asked.section[0], match.asked.op)
    return line is not None and any(runs(frame, line) for frame in message.frames[-2:])


def phase_of(asked: Asked) -> str:
    """The phase of a request: "build" for the weights."""
    return "build" if asked.round == 0 else asked.section[1]


def candidates_of(matches: Iterable[Match], message: OomMessage) -> list[OomCandidate]:
    """The matches by operation, the likeliest first; layers stand together where live bytes do not tell them apart."""
    ordered = sorted(matches, key=lambda match: match.order(message))
    groups: dict[tuple[object, ...], list[Match]] = {}
    for match in ordered:
        groups.setdefault(_group(match, message), []).append(match)
    found = _with_layers([_candidate(group, message) for group in groups.values()])
    return [replace(each, others=len(found) - 1) for each in found]


def _with_layers(candidates: Iterable[OomCandidate]) -> list[OomCandidate]:
    """The candidates, in which an operation stands once for all layers where it is about as likely."""
    found: list[OomCandidate] = []
    for each in candidates:
        place = next((n for n, other in enumerate(found) if _differs_by_layer(other, each)), None)
        if place is None:
            found.append(each)
        else:
            layers = dict.fromkeys((*found[place].layers, *each.layers))
            found[place] = replace(found[place], layers=tuple(layers))
    return found


def _differs_by_layer(one: OomCandidate, other: OomCandidate) -> bool:
    """Whether two candidates differ in nothing but their layer that the message could tell."""
    return _but_layer(one) == _but_layer(other) and abs(one.score - other.score) <= ALIKE


def _but_layer(each: OomCandidate) -> tuple[object, ...]:
    is_exact = each.beside_bytes == 0
    return (
        each.preset,
        each.set,
        each.op,
        each.phase,
        each.is_internal,
        each.round,
        each.runs_out_here,
        is_exact,
    )


def _group(match: Match, message: OomMessage) -> tuple[object, ...]:
    asked = match.asked
    apart = message.allocated is not None and asked.section[0]
    return (
        match.preset,
        match.setting.options,
        asked.op,
        phase_of(asked),
        asked.is_inside,
        apart,
        _round(match),
    )


def _round(match: Match) -> str:
    trains = match.setting.config.run.mode == "training"
    return "later" if trains and match.asked.round > 1 else "first"


def _candidate(group: Sequence[Match], message: OomMessage) -> OomCandidate:
    best = group[0]
    asked, setting = best.asked, best.setting
    line = line_of(setting.config, asked.section[0], asked.op)
    return OomCandidate(
        score=round(best.score(message), 4),
        preset=best.preset,
        setting=setting.words,
        set=setting.options,
        op=asked.op or _what(asked),
        phase=phase_of(asked),
        layers=tuple(dict.fromkeys(match.asked.section[0] for match in group)),
        round="later" if _round(best) == "later" else "first",
        is_internal=asked.is_inside,
        asks_bytes=asked.nbytes,
        segment_bytes=asked.segment_bytes,
        live_bytes=asked.live_bytes,
        beside_bytes=beside(asked, message),
        needs_bytes=asked.need_bytes,
        needs_before_bytes=asked.most_before,
        runs_out_here=best.runs_out,
        from_device=asked.from_device,
        in_traceback=in_traceback(best, message),
        code="" if line is None else line.code,
        module="" if line is None else f"{line.module}, {line.function}",
    )


def _what(asked: Asked) -> str:
    """What a request is for that no operation makes."""
    return asked.kind
