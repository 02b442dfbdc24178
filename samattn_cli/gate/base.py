"""The configs as they are at the base of a change, straight from git's objects, with today's samattn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..encoder.presets import presets
from ..errors import SamattnError
from ..files.documents import files_of
from ..files.file_kinds import THRESHOLDS
from ..files.load import load_config
from ..files.sources import DISK, Files, read_source
from ..metric_names import COSTS, needs_device
from .baseline import Baseline, read_baseline
from .configs import configs_of
from .encoders import Encoders
from .git import Base, Tree, base_of, repository
from .load_thresholds import FILE, ThresholdsFile, thresholds_of
from .lookup import Reading
from .readings import Encoder
from .references import Case

WITHOUT_DEVICE = tuple(cost for cost in COSTS if not needs_device(cost))
"""Those by which two encoders can be compared wherever they run."""


@dataclass(frozen=True)
class AtBase:
    """A `Reference`: today's rules and profiles on the configs and device files of the base.

    Attributes:
        encoders: those of the check, so that what did not change is worked out once.
        base: the commit.
        tree: its files.
        loaded: the encoders at the base, as they were asked for.
        continued: what new configs continue, likewise.
    """

    encoders: Encoders
    base: Base
    tree: Tree
    loaded: dict[tuple[str, str], Encoder | None] = field(default_factory=dict)
    continued: dict[Path, Path | None] = field(default_factory=dict)

    @property
    def file(self) -> ThresholdsFile:
        """Today's thresholds."""
        return self.encoders.file

    @property
    def name(self) -> str:
        """See `Reference`."""
        return f"base {self.base}"

    @property
    def described(self) -> str:
        """Its name, and that it is HEAD itself, if it is."""
        if not self.base.is_head:
            return self.name
        compared = "nothing" if self.tree.repository.is_clean else "only what is not committed"
        return f"{self.name}, which is HEAD itself: {compared} is compared"

    def readings(self, case: Case, metric: str) -> tuple[Reading, ...] | None:
        """See `Reference`."""
        encoder = self.encoder(case)
        return None if encoder is None else encoder.readings(metric)

    def encoder(self, case: Case) -> Encoder | None:
        """The encoder of a case at the base; None where there was none.

        Raises:
            SamattnError: if it cannot be loaded there.
        """
        at = (case.path, case.profile)
        if at not in self.loaded:
            self.loaded[at] = self._load(case)
        return self.loaded[at]

    def former(self, case: Case) -> Path | None:
        """The path that a config had at the base, or that of what it continues; None where there was none.

        A preset, which is samattn's own, had none.

        Raises:
            GitError: if it lies outside of the repository.
        """
        path = Path(case.reference)
        if case.reference in presets() and not path.is_file():
            path = self.file.folder / path  # a file may have had the preset's name
        former = self.tree.former(path)
        if self.tree.exists(former) and not self.tree.is_dir(former):
            return former
        return self.continues(case)

    def continues(self, case: Case) -> Path | None:
        """The path at the base of what a new config is a copy of, if that costs less now: what it cost goes on in the copy.

        A file that the config extends may be the copy, too.
        """
        path = Path(case.reference)
        if path not in self.continued:
            copied = (self.tree.copied(file, self.copies) for file in files_of(path, self.file.files))
            self.continued[path] = next(filter(None, copied), None)
        return self.continued[path]

    def is_copy(self, case: Case) -> bool:
        """Whether a config itself is a copy of what it continues, and not what it extends."""
        return self.tree.copied(Path(case.reference), self.copies) is not None

    @cached_property
    def copies(self) -> Mapping[str, Path]:
        """New configs that are copies of such that cost less now, of which others may be no copies: see `Tree.copies`."""
        if not self.tree.moves.added:
            return {}
        checked = (Path(case.reference) for cases in configs_of(self.file).values() for case in cases)
        pairs = {path: path for path in checked if self.tree.exists(path)} | self.tree.changed()
        return self.tree.copies([then for then, now in pairs.items() if self._costs_less(then, now)])

    def _costs_less(self, then: Path, now: Path) -> bool:
        """Whether an encoder costs less than it did in some profile, or cannot be loaded; not what was none."""
        for profile in ("", *(self.file.thresholds.profiles or {})):
            before = self._encoder_of(then, profile, self.tree)
            today = self._encoder_of(now, profile, self.file.files)
            if before and before is not today and (today is None or _costs_less(today, before)):
                return True
        return False

    def _encoder_of(self, path: Path, profile: str, files: Files) -> Encoder | None:
        """The encoder of a file; None where there is none that can be loaded."""
        try:
            return self.encoders.twin(load_config(path, self.file.overrides(profile), files=files), None)
        except SamattnError:
            return None

    def path_of(self, case: Case) -> str:
        """The path that a config had from the folder in which the thresholds stood; its own, if it was not there.

        Raises:
            GitError: if it lies outside of the repository.
        """
        former = self.former(case)
        if former is None:
            return case.path
        folder = self.path.parent if self.path else self.file.folder
        return Path(os.path.relpath(former, folder)).as_posix()

    def label(self, former: Path) -> str:
        """A file of the base as `samattn diff` takes it: "main:encoders/h.yaml"."""
        return self.tree.label(former)

    def _load(self, case: Case) -> Encoder | None:
        former = self.former(case)
        if former is None and case.path not in presets():
            return None
        overrides = self.file.overrides(case.profile)
        config = load_config(former or presets()[case.path], overrides, files=self.tree if former else DISK)
        reference = self.file.profile(case.profile).device
        device = self.file.device(case.profile, self._holding(reference)) if reference else None
        return self.encoders.twin(config, device)

    def _holding(self, device: str) -> Files:
        """The base's files, if the device is one of them."""
        return self.tree if self.tree.exists(self.file.folder / device) else self.file.files

    @cached_property
    def path(self) -> Path | None:
        """Where the thresholds file stood at the base, or the one that it takes the place of; None where there was none."""
        here = Path(self.file.label)
        if not here.is_file():
            return None
        former = self.tree.former(here)
        return former if self.tree.exists(former) else self._around(here)

    def _around(self, here: Path) -> Path | None:
        """The file that the base has in a folder around a new one, where a check from this folder would have found it."""
        folder = Path.cwd()
        if here.name != FILE or not folder.is_relative_to(here.parent.resolve()):
            return None
        around = (Path(os.path.relpath(above / FILE)) for above in here.parent.resolve().parents)
        return next((path for path in around if self.tree.exists(path)), None)

    @cached_property
    def baseline(self) -> Baseline | None:
        """The baseline beside the thresholds of the base; None where there was none.

        Raises:
            ConfigError: if one of both cannot be read.
        """
        return read_baseline(self.thresholds or replace(self.file, files=self.tree))

    @cached_property
    def removed_thresholds(self) -> tuple[str, ...]:
        """Thresholds files of the base that are gone, as git calls them: what is called so, or as today's is."""
        names = {FILE, Path(self.file.label).name}
        return tuple(path for path in self.tree.moves.removed if PurePosixPath(path).name in names)

    @cached_property
    def thresholds(self) -> ThresholdsFile | None:
        """The thresholds of the base; None where there were none.

        Raises:
            ConfigError: if they cannot be read.
        """
        if self.path is None:
            return None
        return thresholds_of(
            read_source(os.fspath(self.path), Path(), "samattn", THRESHOLDS, files=self.tree)
        )


def _costs_less(today: Encoder, before: Encoder) -> bool:
    """Whether a cost is less than before, or cannot be told."""
    try:
        return any(today.readings(cost)[0].value < before.readings(cost)[0].value for cost in WITHOUT_DEVICE)
    except SamattnError:
        return True


def at_base(request: str, encoders: Encoders) -> AtBase:
    """The base that is asked for, of the repository that the thresholds file is in.

    Raises:
        GitError: if there is none, with what would bring it.
    """
    here = repository(encoders.file.folder)
    base = base_of(request, here)
    return AtBase(encoders, base, Tree(here, base.commit))
