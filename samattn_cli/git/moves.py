"""What became of the configs of a commit: which are called otherwise now, and which are gone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .commands import Git

CONFIGS = ("*.yaml", "*.yml")
OPTIONS = ("--no-ext-diff", "--no-textconv", "--name-status", "--find-renames", "--diff-filter=RD", "-z")
RENAMED = "R"


@dataclass(frozen=True)
class Moves:
    """Paths from the root of the repository.

    Attributes:
        renamed: what a config is called now, to what the commit calls it.
        removed: what the commit has and nothing now is alike.
    """

    renamed: Mapping[str, str]
    removed: tuple[str, ...]


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
        shutil.copyfile(own, index)
    other = replace(git, index=index)
    for suffix in CONFIGS:
        if any(path.endswith(suffix[1:]) for path in paths):
            other.ask("add", "--intent-to-add", "--", suffix)
    return other


def _moves(git: Git, sha: str) -> Moves:
    names = iter(git.ask("diff", *OPTIONS, sha, "--", *CONFIGS).names)
    renamed, removed = dict[str, str](), list[str]()
    for now, then in _pairs(names):
        if now:
            renamed[now] = then
        else:
            removed.append(then)
    return Moves(renamed, tuple(removed))


def _pairs(names: Iterator[str]) -> Iterator[tuple[str, str]]:
    """What each is called now, "" if it is gone, and then."""
    for status in names:
        then = next(names)
        yield (next(names) if status.startswith(RENAMED) else ""), then
