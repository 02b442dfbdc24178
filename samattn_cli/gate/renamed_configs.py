"""The old names of configs that were renamed since a baseline was committed, so that its figures still apply to them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..encoder.presets import presets
from ..errors import GitError
from ..files.sources import Disk
from .git import Tree, repository
from .load_thresholds import ThresholdsFile
from .references import Case
from .thresholds import TRACED


@dataclass(frozen=True)
class OldPaths:
    """Finds the path that a config had when the baseline was committed. Git is asked only if a config of the baseline is gone.

    Attributes:
        file: the thresholds.
        baseline: the path of the baseline.
        paths: of the configs in the baseline, from the folder of the thresholds.
    """

    file: ThresholdsFile
    baseline: Path
    paths: frozenset[str]

    def __call__(self, case: Case) -> str:
        """The path of a config in the baseline: its own, if it was not renamed or git does not know.

        Raises:
            GitError: if the clone is too shallow to tell.
        """
        if case.path in presets() or case.is_traced or not self._gone or self._tree is None:
            return case.path
        try:
            path = self._tree.old_path(Path(case.reference))
        except GitError:  # outside the repository: git knows nothing of it
            return case.path
        return Path(os.path.relpath(path, self.file.folder)).as_posix()

    @cached_property
    def _gone(self) -> bool:
        folder = self.file.folder
        return isinstance(self.file.files, Disk) and any(
            not path.startswith(TRACED) and path not in presets() and not (folder / path).exists()
            for path in self.paths
        )

    @cached_property
    def _tree(self) -> Tree | None:
        """The files as they were when the baseline was committed; None if it was not, or without git."""
        try:
            here = repository(self.file.folder)
        except GitError:
            return None
        commit = here.last_change(self.baseline)
        if commit is None:
            return None
        if here.is_shallow and here.find(f"{commit.sha}~1") is None:
            raise GitError(
                "shallow-clone",
                "this clone is too shallow to find the configs that were renamed since the baseline was committed: "
                + here.unshallow("HEAD"),
            )
        return Tree(here, commit)
