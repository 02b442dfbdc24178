"""What the rules of a thresholds file are compared with, where it is: the base of the change, and the baseline beside it."""

from __future__ import annotations

from ...git import AUTO
from ...git.provider import candidates
from .base import at_base
from .baseline import read_baseline
from .encoders import Encoders
from .references import Reference


def known_references(encoders: Encoders, base: str | None) -> dict[str, Reference]:
    """By the `vs` of rules, those that there are.

    Raises:
        GitError: if the base that is asked for is not here.
        ConfigError: if the baseline is damaged.
    """
    compared = {rule.vs for rule in encoders.file.thresholds.rules}
    found: dict[str, Reference] = {}
    if base is None and "base" in compared and candidates():
        base = AUTO
    if base is not None:
        found["base"] = at_base(base, encoders)
    if "baseline" in compared and (baseline := read_baseline(encoders.file)) is not None:
        found["baseline"] = baseline
    return found
