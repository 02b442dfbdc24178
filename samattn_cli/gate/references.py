"""What a rule's `vs` compares with: the same configs elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..errors import SamattnError
from .lookup import Reading


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
class Missing:
    """A reference that is not there."""

    reason: str
    name: str = ""

    def readings(self, case: Case, metric: str) -> tuple[Reading, ...] | None:  # noqa: ARG002 - as `Reference`
        """See `Reference`.

        Raises:
            SamattnError: always.
        """
        raise SamattnError(self.reason)
