"""The Pareto front of choices on a card: no other is as fast and takes as little memory. Without a device, work is compared.

The allocator is not replayed for every choice. What it reserves is at least what is live, so two bounds are proven: a choice
whose live bytes exceed the memory does not fit, and one whose live bytes exceed what a choice that is as fast reserves is not
on the front. Live bytes take passes of their own, so a bound of them is tried first (`parts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from .evaluate import Trial


def front_of(trials: Sequence[Trial], done: Callable[[], object]) -> list[Trial]:
    """The choices on the front, from the fastest on; `done` is called after each choice."""
    limit = trials[0].usable_bytes + 1 if trials else 0  # what a choice on the front takes less than
    fitting: list[Trial] = []
    for _, equals in groupby(sorted(trials, key=_by_work), key=lambda trial: trial.work):
        for trial in _by_live(list(equals), limit):
            if trial.may_take(limit) and trial.used.fits:
                fitting.append(trial)
                limit = trial.taken_bytes if len(fitting) == 1 else min(limit, trial.taken_bytes)
            done()
    return without_beaten(fitting)


def _by_live(equals: list[Trial], limit: int) -> list[Trial]:
    """Choices that are as fast as each other; where several may be on the front, those with the least live bytes come first."""
    may = [trial.least_bytes < limit for trial in equals]
    if sum(may) <= 1:
        return equals
    keys = [trial.live_bytes if can else limit for trial, can in zip(equals, may, strict=True)]
    return [equals[place] for place in sorted(range(len(equals)), key=keys.__getitem__)]


def without_beaten(fitting: Sequence[Trial]) -> list[Trial]:
    """Those that no other beats; of several that are equal, the first."""
    front: list[Trial] = []
    for trial in sorted(fitting, key=lambda each: (each.work, each.taken_bytes)):
        if not front or trial.taken_bytes < front[-1].taken_bytes:
            front.append(trial)
    return front


def nearest_of(trials: Sequence[Trial]) -> Trial | None:
    """The choice that lacks the least memory, where none fits; None if no kernel of any can be launched."""
    nearest: Trial | None = None
    for trial in sorted(trials, key=lambda each: (each.least_bytes, each.work)):
        if nearest is not None and not trial.may_take(nearest.taken_bytes):
            continue
        if not trial.used.refused and (nearest is None or trial.taken_bytes < nearest.taken_bytes):
            nearest = trial
    return nearest


def _by_work(trial: Trial) -> tuple[tuple[float, ...], int]:
    return trial.work, trial.least_bytes
