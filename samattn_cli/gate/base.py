"""The configs at the base of a change, read from git's objects and analyzed by this samattn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..device.model import Device
from ..encoder.presets import presets
from ..errors import SamattnError
from ..files.documents import files_of
from ..files.file_kinds import THRESHOLDS
from ..files.load import load_config
from ..files.sources import DISK, Files, read_source
from ..metric_names import COSTS, needs_device
from ..records import dataclass, replace
from .baseline import Baseline, read_baseline
from .configs import configs_of
from .encoders import Encoders
from .git import Base, Tree, base_of, repository
from .load_thresholds import FILE, ThresholdsFile, thresholds_of
from .lookup import Reading
from .readings import Encoder
from .references import Case
from .traced import TracedEncoder
from .traced_at_base import TracedAtBase

WITHOUT_DEVICE = tuple(cost for cost in COSTS if not needs_device(cost))
"""Those by which two encoders can be compared wherever they run."""


@dataclass(frozen=True)
class AtBase:
    """A `Reference`: today's rules and profiles, applied to the configs and device files of the base.

    Attributes:
        encoders: those of the check, so that an encoder that did not change is worked out once.
        base: the commit.
        tree: its files.
        loaded: the encoders at the base, once they were needed.
        originals: the configs that new configs are copies of, once they were needed.
        former: the old paths of configs, once they were needed.
    """

    encoders: Encoders
    base: Base
    tree: Tree
    loaded: dict[tuple[str, str], Encoder | None] = field(default_factory=dict)
    originals: dict[Path, Path | None] = field(default_factory=dict)
    former: dict[str, Path | None] = field(default_factory=dict)

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
        """Its name, and a warning if it is HEAD itself."""
        if not self.base.is_head:
            return self.name
        compared = "nothing" if self.tree.repository.is_clean else "only uncommitted work"
        return f"{self.name}, which is HEAD itself: {compared} is compared"

    def readings(self, case: Case, metric: str) -> tuple[Reading, ...] | None:
        """See `Reference`."""
        encoder = self.traced(case) if case.is_traced else self.encoder(case)
        return None if encoder is None else encoder.readings(metric)

    def encoder(self, case: Case) -> Encoder | None:
        """The encoder of a case at the base; None if it did not exist.

        Raises:
            SamattnError: if it cannot be loaded there.
        """
        at = (case.path, case.profile)
        if at not in self.loaded:
            self.loaded[at] = self._load(case)
        return self.loaded[at]

    def traced(self, case: Case) -> TracedEncoder | None:
        """The module of a case, run from a checkout of the base; None if it did not exist.

        Raises:
            SamattnError: if it cannot be traced there.
        """
        return self._modules.encoder(case, self._device(case), self.thresholds)

    def old_path(self, case: Case) -> Path | None:
        """The path of a config at the base, or of the config that it is a copy of; None if there is neither, and for presets and modules that are traced.

        Raises:
            GitError: if the config is outside the repository.
        """
        if case.is_traced:
            return None
        if case.reference not in self.former:
            self.former[case.reference] = self._old_path(case)
        return self.former[case.reference]

    def _old_path(self, case: Case) -> Path | None:
        path = Path(case.reference)
        if case.reference in presets() and not path.is_file():
            path = self.file.folder / path  # at the base a file may have had the preset's name
        then = self.tree.old_path(path)
        if self.tree.exists(then) and not self.tree.is_dir(then):
            return then
        return self.copied_from(case)

    def copied_from(self, case: Case) -> Path | None:
        """The path at the base of the config that a new one is a copy of, if the original costs less now.

        Otherwise a change could evade a rule: copy a config, make the original cheaper, and use the copy. A file that the
        new config extends may be the copy, too.
        """
        if case.is_traced:
            return None
        path = Path(case.reference)
        if not self.copies:
            return None
        if path not in self.originals:
            copied = (self.tree.copied_from(file, self.copies) for file in files_of(path, self.file.files))
            self.originals[path] = next(filter(None, copied), None)
        return self.originals[path]

    def is_copy(self, case: Case) -> bool:
        """Whether a config itself is the copy, and not a file that it extends."""
        return self.tree.copied_from(Path(case.reference), self.copies) is not None

    @cached_property
    def copies(self) -> Mapping[str, Path]:
        """New configs that are copies of configs that cost less now, by their paths from the root: see `Tree.copies`."""
        if not self.tree.moves.added:
            return {}
        checked = (Path(case.reference) for cases in configs_of(self.file).values() for case in cases)
        pairs = {path: path for path in checked if self.tree.exists(path)} | self.tree.changed()
        return self.tree.copies([then for then, now in pairs.items() if self._costs_less(then, now)])

    def _costs_less(self, then: Path, now: Path) -> bool:
        """Whether an encoder costs less than before in some profile, or can no longer be loaded."""
        for profile in ("", *(self.file.thresholds.profiles or {})):
            before = self._encoder_of(then, profile, self.tree)
            today = self._encoder_of(now, profile, self.file.files)
            if before and before is not today and (today is None or _costs_less(today, before)):
                return True
        return False

    def _encoder_of(self, path: Path, profile: str, files: Files) -> Encoder | None:
        """The encoder of a file; None if it cannot be loaded."""
        try:
            return self.encoders.twin(load_config(path, self.file.overrides(profile), files=files), None)
        except SamattnError:
            return None

    def path_of(self, case: Case) -> str:
        """The old path of a config from the old folder of the thresholds; today's path, if the config is new.

        Raises:
            GitError: if the config is outside the repository.
        """
        then = self.old_path(case)
        if then is None:
            return case.path
        folder = self.path.parent if self.path else self.file.folder
        return Path(os.path.relpath(then, folder)).as_posix()

    def label(self, path: Path) -> str:
        """A file of the base as `samattn diff` takes it: "main:encoders/h.yaml"."""
        return self.tree.label(path)

    def _load(self, case: Case) -> Encoder | None:
        then = self.old_path(case)
        if then is None and case.path not in presets():
            return None
        overrides = self.file.overrides(case.profile)
        config = load_config(then or presets()[case.path], overrides, files=self.tree if then else DISK)
        return self.encoders.twin(config, self._device(case))

    def _device(self, case: Case) -> Device | None:
        """The device of a profile, from the base's file if it is one of the base."""
        reference = self.file.profile(case.profile).device
        return self.file.device(case.profile, self._files_with(reference)) if reference else None

    @cached_property
    def _modules(self) -> TracedAtBase:
        return TracedAtBase(self.file, self.tree.repository, self.base.commit)

    def _files_with(self, device: str) -> Files:
        """The base's files, if the device is one of them; else those of today."""
        return self.tree if self.tree.exists(self.file.folder / device) else self.file.files

    @cached_property
    def path(self) -> Path | None:
        """The path of the thresholds file at the base, or of the file that it replaces; None if there is neither."""
        here = Path(self.file.label)
        if not here.is_file():
            return None
        then = self.tree.old_path(here)
        return then if self.tree.exists(then) else self._in_parents(here)

    def _in_parents(self, here: Path) -> Path | None:
        """The thresholds file that a check from here would have found at the base, in a parent directory of a new file."""
        folder = Path.cwd()
        if here.name != FILE or not folder.is_relative_to(here.parent.resolve()):
            return None
        above_it = (Path(os.path.relpath(above / FILE)) for above in here.parent.resolve().parents)
        return next((path for path in above_it if self.tree.exists(path)), None)

    @cached_property
    def baseline(self) -> Baseline | None:
        """The baseline next to the thresholds of the base; None if there was none.

        Raises:
            ConfigError: if the thresholds or the baseline cannot be read.
        """
        return read_baseline(self.thresholds or replace(self.file, files=self.tree))

    @cached_property
    def removed_thresholds(self) -> tuple[str, ...]:
        """The paths from the root of thresholds files of the base that were removed, by the usual name or by today's."""
        names = {FILE, Path(self.file.label).name}
        return tuple(path for path in self.tree.moves.removed if PurePosixPath(path).name in names)

    @cached_property
    def thresholds(self) -> ThresholdsFile | None:
        """The thresholds of the base; None if there were none.

        Raises:
            ConfigError: if they cannot be read.
        """
        if self.path is None:
            return None
        return thresholds_of(
            read_source(os.fspath(self.path), Path(), "samattn", THRESHOLDS, files=self.tree)
        )


def _costs_less(today: Encoder, before: Encoder) -> bool:
    """Whether some cost is less than before, or is unknown."""
    try:
        return any(today.readings(cost)[0].value < before.readings(cost)[0].value for cost in WITHOUT_DEVICE)
    except SamattnError:
        return True


def at_base(request: str, encoders: Encoders) -> AtBase:
    """The requested base, in the repository of the thresholds file.

    Raises:
        GitError: if there is none; the message says how to fetch it.
    """
    here = repository(encoders.file.folder)
    base = base_of(request, here)
    return AtBase(encoders, base, Tree(here, base.commit))
