"""Opens what the rules of a thresholds file compare with: the base of the change, and the baseline next to the file."""

from __future__ import annotations

from ..errors import GitError, Message
from .base import at_base
from .baseline import CREATE, NAME, read_baseline
from .encoders import Encoders
from .git import AUTO
from .git.provider import candidates
from .reasons import in_context, reason
from .references import Missing, Reference


def known_references(encoders: Encoders, base: str | None) -> dict[str, Reference]:
    """The references by the `vs` of rules. Rules report one that does not exist, and how to get it.

    Raises:
        GitError: if the base that the user or CI names is not in this clone.
        ConfigError: if the baseline is damaged.
    """
    compared = {rule.vs for rule in encoders.file.thresholds.rules}
    references: dict[str, Reference] = {}
    if base is not None:
        references["base"] = at_base(base, encoders)
    elif "base" in compared:
        references["base"] = _usual_base(encoders)
    if "baseline" in compared:
        text = f"there is no {NAME} to compare with: run {CREATE}"
        missing = Missing(Message("no-baseline", text))
        references["baseline"] = read_baseline(encoders.file) or missing
    return references


def _usual_base(encoders: Encoders) -> Reference:
    """The base that CI names; elsewhere the main branch, if there is one."""
    try:
        return at_base(AUTO, encoders)
    except GitError as error:
        if candidates():
            raise
        return Missing(in_context("there is no base to compare with", reason(error)))
