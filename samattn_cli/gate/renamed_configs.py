"""What a baseline calls configs that were renamed since it was committed: their figures are still those to compare with."""

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


@dataclass(frozen=True)
class Former:
    """Git is asked where a baseline has figures of configs that are gone, and so may have other names now.

    Attributes:
        file: the thresholds.
        baseline: the path of the baseline.
        paths: of the configs that it has figures of, from the folder of the thresholds.
    """

    file: ThresholdsFile
    baseline: Path
    paths: frozenset[str]

    def __call__(self, case: Case) -> str:
        """The path that the baseline has of a config: its own, where that was not renamed, or none can tell.

        Raises:
            GitError: if the clone is too shallow to say.
        """
        if case.path in presets() or not self._gone or self._tree is None:
            return case.path
        try:
            former = self._tree.former(Path(case.reference))
        except GitError:  # out of the repository: of that git says nothing
            return case.path
        return Path(os.path.relpath(former, self.file.folder)).as_posix()

    @cached_property
    def _gone(self) -> bool:
        folder = self.file.folder
        return isinstance(self.file.files, Disk) and any(
            path not in presets() and not (folder / path).exists() for path in self.paths
        )

    @cached_property
    def _tree(self) -> Tree | None:
        """The files as they were when the baseline was committed; None where it was not, or there is no git."""
        try:
            here = repository(self.file.folder)
        except GitError:
            return None
        commit = here.last_change(self.baseline)
        if commit is None:
            return None
        if here.is_shallow and here.find(f"{commit.sha}~1") is None:
            raise GitError(
                "this clone is too shallow to say which configs were renamed since the baseline was made: "
                + here.unshallow("HEAD")
            )
        return Tree(here, commit)
