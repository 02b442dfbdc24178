"""The answer of `samattn oom`: reads the message, finds the operations that fit it, and says what would make the run fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...encoder.model import EncoderConfig
from ...encoder.torch_versions import OLDEST, words
from ...reports.oom import Oom, OomCandidate, OomMessage
from ..torch_version import with_torch
from .chance import Chance
from .fixes import fixes_of, memories_of, memory_of
from .message import is_of_old_form, message_of
from .patches import solve_patches
from .places import asks_for, has_step, matching, run_of
from .presets import of_presets
from .rank import NEAR, Match, beside, candidates_of, is_possible
from .solve import NOT_FIRST, SECOND, Setting, solve
from .verdict import alike_to, verdict_of, within_of
from .words import sentence_of

if TYPE_CHECKING:
    from ...tape.inside import Cuda
    from ...tape.timeline import Asked

MOST_SETTINGS = 10
"""Settings that are replayed by their own numbers."""
FEW = 8
MOST_SHOWN = 24
LITTLE = 1 << 20
MOST_CHECKED = 3
"""Candidates that are looked for with the memory of the message."""


def answer(text: str, config: EncoderConfig | None, given: frozenset[str], cuda: Cuda) -> Oom:
    """What an out-of-memory error is about.

    Args:
        text: the error, or a log with it.
        config: the encoder; None: any preset. A message that torch before 2.1 printed has the rules of the oldest torch, unless
            `run.torch` is given.
        given: the keys of `run`, and "image_size", that are known; others are solved for.
        cuda: the device.

    Raises:
        UsageError: if the text has no error of torch's CUDA allocator, or its figures cannot be.
    """
    message = message_of(text)
    if config is not None and "torch" not in given and is_of_old_form(text):
        config = with_torch(config, words(OLDEST))
    chance = Chance(message.tried)
    memory = memory_of(message)
    if config is None:
        matches = list(of_presets(message, chance))
    else:
        matches = _matches(config, given, message, cuda, chance)
    matches = _run_out(sorted(matches, key=lambda match: match.order(message)), message, memory, cuda)
    candidates = candidates_of(matches, message)
    best = min(matches, key=lambda match: match.order(message), default=None)
    verdict = verdict_of(candidates, message, chance)
    shown = _shown(candidates, message)
    fixes = () if best is None or config is None else fixes_of(best, message, cuda, memory)
    return Oom(
        config=config,
        message=message,
        verdict=verdict,
        answer=sentence_of(verdict, candidates, message, config),
        candidates=tuple(candidates[:shown]),
        left_out=len(candidates) - shown,
        tried_settings=chance.settings,
        by_chance=round(chance.share, 4),
        memory_bytes=memory,
        fixes=fixes,
        notes=tuple(_notes(message, candidates, memory)),
    )


def _shown(candidates: Sequence[OomCandidate], message: OomMessage) -> int:
    """How many candidates are shown: a few, but all that are as likely as the first, unless they are too many."""
    if not candidates:
        return 0
    first, *others = candidates
    within = within_of(first, message)
    alike = [number for number, each in enumerate(others, 2) if alike_to(first, each, within)]
    return min(max([FEW, *alike]), MOST_SHOWN, len(candidates))


def _matches(
    config: EncoderConfig, given: frozenset[str], message: OomMessage, cuda: Cuda, chance: Chance
) -> list[Match]:
    """The requests that fit, of the likeliest settings: with the mode and the kernel of the config, or else with any."""
    first = given | (SECOND if message.allocated is None else {"attention"})
    for known in dict.fromkeys((first, given)):
        found = solve(config, known, message, cuda, chance)
        near = [each for each in found if each.distance < NOT_FIRST]
        if not near and "image_size" not in given:
            solved = [
                Match(each.setting, each.asked)
                for each in solve_patches(config, known, message, cuda, chance)
            ]
            if solved:
                return [match for match in solved if is_possible(match.asked, message)]
        settings = dict.fromkeys(each.setting for each in (near or found)[:MOST_SETTINGS])
        matches = [match for setting in settings for match in _in(setting, given, message, cuda)]
        if matches:
            return matches
    return []


def _in(setting: Setting, given: frozenset[str], message: OomMessage, cuda: Cuda) -> list[Match]:
    """The requests of a setting, of the first step alone or of later ones alone if `run.step` is given."""
    run, step = run_of(setting.config, cuda), setting.config.run.step
    return [
        Match(setting, asked)
        for asked in matching(run, message.tried)
        if is_possible(asked, message) and ("step" not in given or (asked.round > 1) == (step == "later"))
    ]


def _run_out(matches: Sequence[Match], message: OomMessage, memory: int | None, cuda: Cuda) -> list[Match]:
    """The matches, and where runs in the memory of the message run out, of the settings of the first few."""
    if memory is None or message.allocated is None:
        return list(matches)
    rooms: dict[Setting, dict[int, None]] = {}
    for match in matches[:MOST_CHECKED]:
        if not match.preset and not any(key == "patches" for key, _ in match.setting.keys):
            besides = rooms.setdefault(match.setting, {})
            besides[max(beside(match.asked, message) or 0, 0)] = None
    # nothing runs beside the encoder in a setting that has as much live as is allocated
    exact = {match.setting for match in matches if beside(match.asked, message) == 0}
    ends = [
        Match(setting, failed, runs_out=True)
        for setting, besides in rooms.items()
        for failed in _ends(
            setting, message, [memory - each for each in besides if each and setting not in exact], cuda
        )
        if setting not in exact or beside(failed, message) == 0
    ]
    return _without_copies([*ends, *matches])


def _ends(setting: Setting, message: OomMessage, smaller: Sequence[int], cuda: Cuda) -> list[Asked]:
    """Where runs end that print the message: in its memory, or else in what is left by what runs beside the encoder."""
    for sizes in (memories_of(message), smaller):
        failed = (run_of(setting.config, cuda, size).failed for size in sizes)
        if found := [each for each in failed if each is not None and _ends_so(each, message)]:
            return found
    return []


def _ends_so(failed: Asked, message: OomMessage) -> bool:
    """Whether a run that ends at a request prints the message, but for a little that runs beside it."""
    allocated = message.allocated
    if allocated is None or not asks_for(failed, message.tried):
        return False
    least = allocated.low_bytes * (1 - NEAR)
    return least <= failed.live_bytes <= allocated.high_bytes and _has_rests(failed, message)


def _has_rests(failed: Asked, message: OomMessage) -> bool:
    """Whether as much is reserved and not allocated as a message says, if nothing runs beside the encoder.

    It can be more: the message is printed after free segments are given back.
    """
    allocated, rests = message.allocated, message.unallocated
    if rests is None or allocated is None or failed.live_bytes < allocated.low_bytes:
        return True
    free = failed.reserved_bytes - failed.live_bytes
    return rests.low_bytes - LITTLE <= free


def _without_copies(matches: Sequence[Match]) -> list[Match]:
    """One match for each request; the first of equal ones."""
    found: dict[object, Match] = {}
    for match in matches:
        asked = match.asked
        key = match.preset, match.setting, asked.section, asked.op, asked.kind, asked.round, asked.nbytes
        found.setdefault((*key, asked.live_bytes // LITTLE), match)
    return list(found.values())


def _notes(message: OomMessage, candidates: Sequence[OomCandidate], memory: int | None) -> list[str]:
    """What else is to be known."""
    notes = []
    if message.tried.is_request:
        notes.append("cudaMallocAsync prints the request itself; what it keeps in its pool is not modelled")
    elif not has_step(message.tried):
        notes.append(
            f"{message.tried.text} is not a multiple of 2 MiB, as torch's allocator asks since torch 1.0; it is compared with the "
            "requests themselves"
        )
    if message.ranks > 1:
        notes.append(f"{message.ranks} processes print this error with the same size; the first is taken")
    if message.free is not None and message.free.low_bytes >= message.tried.high_bytes:
        notes.append(
            "the device has more free than was tried: a limit of the process, a MIG slice, or another process that has ended"
        )
    if candidates and memory is None:
        notes.append("the message does not say what the process can use, so no change is known to fit")
    if message.private_pools is not None:
        notes.append("CUDA graphs hold a part of what is allocated, which is not modelled")
    return notes
