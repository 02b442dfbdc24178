"""What the rules of a thresholds file are compared with, where it is: the base of the change, and the baseline beside it."""

from __future__ import annotations

from ..errors import GitError
from .base import at_base
from .baseline import read_baseline
from .encoders import Encoders
from .git import AUTO
from .git.provider import candidates
from .references import Missing, Reference


def known_references(encoders: Encoders, base: str | None) -> dict[str, Reference]:
    """By the `vs` of rules; what is not there tells what would bring it where a rule needs it.

    Raises:
        GitError: if the base that is asked for, or that CI names, is not here.
        ConfigError: if the baseline is damaged.
    """
    compared = {rule.vs for rule in encoders.file.thresholds.rules}
    found: dict[str, Reference] = {}
    if base is not None:
        found["base"] = at_base(base, encoders)
    elif "base" in compared:
        found["base"] = _usual_base(encoders)
    if "baseline" in compared:
        missing = Missing("there is no baseline to compare with: samattn baseline create")
        found["baseline"] = read_baseline(encoders.file) or missing
    return found


def _usual_base(encoders: Encoders) -> Reference:
    """What CI names, and elsewhere the main branch, where there is one."""
    try:
        return at_base(AUTO, encoders)
    except GitError as error:
        if candidates():
            raise
        return Missing(f"there is no base to compare with: {error}")
