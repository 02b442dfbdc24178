"""The answer of `samattn verify`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..verdicts import CrossCheck, Status, worst
from ..version import __version__
from . import SCHEMA_VERSION
from .shown import Shown


@dataclass(frozen=True)
class Verified:
    """One config's verdicts, or the reason why it could not be loaded."""

    config: str
    crosscheck: CrossCheck | None = None
    error: str = ""

    @property
    def status(self) -> Status:
        """The worst of the verdicts."""
        return "failed" if self.crosscheck is None else self.crosscheck.status


@dataclass(frozen=True)
class Verification(Shown):
    """The answer of `samattn verify`."""

    results: tuple[Verified, ...]
    kind: Literal["verification"] = "verification"
    schema_version: int = SCHEMA_VERSION
    samattn_version: str = __version__

    @property
    def status(self) -> Status:
        """The worst of the verdicts."""
        return worst(result.status for result in self.results)
