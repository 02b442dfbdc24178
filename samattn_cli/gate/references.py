"""What a rule's `vs` compares with: figures of the same configs at a commit, or in a baseline."""

from __future__ import annotations

from typing import Protocol

from ..errors import Message, SamattnError
from ..records import dataclass
from .lookup import Reading
from .thresholds import TRACED


@dataclass(frozen=True)
class Case:
    """A config in a profile.

    Attributes:
        path: of the config from the folder of the thresholds file, with "/", or the name of a preset.
        reference: its path from the working directory, from which it is loaded, or the name of the preset.
        profile: the profile's name; "" for none.

    The path and the reference of a module that is traced are both "trace:" and its name.
    """

    path: str
    reference: str
    profile: str = ""

    @property
    def is_traced(self) -> bool:
        """Whether it is a module that is traced."""
        return self.path.startswith(TRACED)


class Reference(Protocol):
    """Figures of the same configs, at a commit or in a baseline."""

    @property
    def name(self) -> str:
        """Its name in reports, such as "base main (1a2b3c4)"."""

    def readings(self, case: Case, metric: str) -> tuple[Reading, ...] | None:
        """A figure; None if the reference does not have this config.

        Raises:
            SamattnError: if the figure cannot be worked out.
        """


@dataclass(frozen=True)
class Missing:
    """A reference that does not exist. Only a rule that needs it fails."""

    reason: Message
    name: str = ""

    def readings(self, case: Case, metric: str) -> tuple[Reading, ...] | None:  # noqa: ARG002 - as `Reference`
        """See `Reference`.

        Raises:
            SamattnError: always.
        """
        raise SamattnError(self.reason.code, self.reason)
