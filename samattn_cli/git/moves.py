"""What became of the configs of a commit: which are called otherwise now, and which are gone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .commands import Git

CONFIGS = ("*.yaml", "*.yml")
OPTIONS = (
    "--no-ext-diff",
    "--no-textconv",
    "--name-status",
    "--find-copies",
    "-l1000",
    "--diff-filter=RCD",
    "-z",
)
"""The limit of how much is compared is git's own, as a setting of this machine may be another."""
RENAMED, COPIED = "R", "C"


@dataclass(frozen=True)
class Moves:
    """Paths from the root of the repository.

    Attributes:
        renamed: what a config is called now, to what the commit calls it.
        removed: what the commit has and nothing now is alike.
        copied: new configs, to those of the commit that they are alike.
    """

    renamed: Mapping[str, str]
    removed: tuple[str, ...]
    copied: Mapping[str, str] = field(default_factory=dict)


def moves(git: Git, sha: str) -> Moves:
    """Between a commit and the work tree, files that git does not track yet among it (ignored ones are not)."""
    untracked = git.ask("ls-files", "--others", "--exclude-standard", "-z", "--", *CONFIGS).names
    if not untracked:
        return _moves(git, sha)
    with tempfile.TemporaryDirectory() as folder:
        return _moves(_tracking(git, untracked, Path(folder, "index")), sha)


def _tracking(git: Git, paths: Sequence[str], index: Path) -> Git:
    """Git with an index of its own, in which these files are to be added: the user's is left alone."""
    own = git.folder / git.ask("rev-parse", "--git-path", "index").text
    if own.exists():
        shutil.copy2(own, index)  # with its time, by which git tells what changed right after it was written
    other = replace(git, index=index)
    for suffix in CONFIGS:
        if any(path.endswith(suffix[1:]) for path in paths):
            other.ask("add", "--intent-to-add", "--", suffix)
    return other


def _moves(git: Git, sha: str) -> Moves:
    names = iter(git.ask("diff", *OPTIONS, sha, "--", *CONFIGS).names)
    found: dict[str, dict[str, str]] = {RENAMED: {}, COPIED: {}}
    removed = list[str]()
    for status, then in zip(names, names, strict=False):
        if status[0] in found:
            found[status[0]][next(names)] = then
        else:
            removed.append(then)
    return Moves(found[RENAMED], tuple(removed), found[COPIED])
