"""What a rule's `vs` compares with: the same configs elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .metrics import Encoder, Reading


@dataclass(frozen=True)
class Case:
    """A config in a profile.

    Attributes:
        path: of the config from the folder of the thresholds file, with "/", or the name of a preset.
        reference: the same from the working directory, as it can be loaded.
        profile: the profile's name; "" is none.
    """

    path: str
    reference: str
    profile: str = ""


class Reference(Protocol):
    """The same configs elsewhere: at a commit, or in a baseline."""

    @property
    def name(self) -> str:
        """What reports call it: "base main (1a2b3c4)"."""

    def readings(self, case: Case, metric: str) -> tuple[Reading, ...] | None:
        """A figure there; None where there is no such config.

        Raises:
            SamattnError: if it cannot be told.
        """


@dataclass(frozen=True)
class Elsewhere:
    """Encoders that are loaded elsewhere: `load` gives that of a case, or None where there is none."""

    name: str
    load: Callable[[Case], Encoder | None]

    def readings(self, case: Case, metric: str) -> tuple[Reading, ...] | None:
        """A figure there; None where there is no such config."""
        encoder = self.load(case)
        return None if encoder is None else encoder.readings(metric)
