"""The modules of a thresholds file as they were at the base of a change: their code is run from a checkout of that commit."""

from __future__ import annotations

import os
from dataclasses import field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..device.model import Device
from ..errors import SamattnError
from ..records import dataclass, replace
from .git import Commit, Repository, checked_out
from .load_thresholds import ThresholdsFile
from .references import Case
from .targets import asked_of, check_whole
from .traced import TracedEncoder

if TYPE_CHECKING:
    from ..studies.traced.ask import Asked

NOT_THERE = frozenset({"no-such-module", "no-such-attribute", "file-not-found"})
"""Codes of a target that does not exist."""


@dataclass(frozen=True)
class TracedAtBase:
    """Modules at a commit, run by this Python with the packages that are installed now.

    Attributes:
        file: today's thresholds, which say what is traced.
        repository: that of the file.
        commit: the base.
        traced: what was traced, by case and device.
    """

    file: ThresholdsFile
    repository: Repository
    commit: Commit
    traced: dict[Case, TracedEncoder | SamattnError | None] = field(default_factory=dict)

    def encoder(self, case: Case, device: Device | None, then: ThresholdsFile | None) -> TracedEncoder | None:
        """The module of a case at the base, whose thresholds were `then`; None if it did not exist.

        Raises:
            SamattnError: if it was traced in another way there, or cannot be traced.
        """
        if case not in self.traced:
            try:
                self.traced[case] = self._encoder(case, device, then)
            except SamattnError as error:
                self.traced[case] = error
        found = self.traced[case]
        if isinstance(found, SamattnError):
            raise found
        return found

    def _encoder(
        self, case: Case, device: Device | None, then: ThresholdsFile | None
    ) -> TracedEncoder | None:
        known = then.thresholds.targets.get(case.path) if then else None
        today = self.file.thresholds.targets[case.path][1]
        if known and (changed := [what for _, what in known[1].changes_to(today)]):
            text = f"{case.path} was traced differently there ({'; '.join(changed)}), so its figures cannot be compared"
            raise SamattnError("target-changed", text)
        encoder = TracedEncoder(self._asked(case), device, self.file.profile(case.profile).device)
        try:
            check_whole(encoder)
        except SamattnError as error:
            if known is None and NOT_THERE.intersection(error.codes):
                return None
            raise
        return encoder

    def _asked(self, case: Case) -> Asked:
        asked = asked_of(self.file, case)
        if Path(asked.target).is_absolute():
            text = f"{asked.target} is an absolute path, which names the same file at every commit: make it relative"
            raise SamattnError("not-of-base", text)
        root = self.repository.root
        folder = self.files / os.path.relpath(os.path.realpath(self.file.folder), os.path.realpath(root))
        folder.mkdir(parents=True, exist_ok=True)  # without files there, nothing is found in it
        return replace(asked, folder=str(folder), checkout=str(self.files), work_tree=str(root))

    @cached_property
    def files(self) -> Path:
        """The root of the checkout."""
        return checked_out(self.repository, self.commit, Path(self.folder.name))

    @cached_property
    def folder(self) -> TemporaryDirectory[str]:
        """It is removed with these encoders."""
        return TemporaryDirectory(prefix="samattn-base-", ignore_cleanup_errors=True)
