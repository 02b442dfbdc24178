"""What happened to the configs of a commit: which were changed, renamed, removed or added since."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...records import dataclass, replace
from .commands import Git

CONFIGS = ("*.yaml", "*.yml")
OPTIONS = ("--no-ext-diff", "--no-textconv", "--name-status", "-l1000", "-z")
"""The limit of renames is git's default, because the settings of this machine may have another."""
RENAMED, COPIED, ADDED, REMOVED = "R", "C", "A", "D"


@dataclass(frozen=True)
class Moves:
    """Paths from the root of the repository.

    Attributes:
        renamed: the new path of a config, to its path in the commit.
        removed: configs of the commit that no longer exist, under any path.
        added: new configs that were not renamed.
        changed: configs with the same path and other contents.
    """

    renamed: Mapping[str, str]
    removed: tuple[str, ...]
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def moves(git: Git, sha: str) -> Moves:
    """Between a commit and the work tree, including untracked files that are not ignored."""
    with _tracking_all(git) as tracking:
        statuses = list(_statuses(tracking, sha, "--find-renames", CONFIGS))
    paths = {kind: tuple(now for status, _, now in statuses if status == kind) for kind in (REMOVED, ADDED)}
    renamed = {now: then for status, then, now in statuses if status == RENAMED}
    changed = tuple(now for status, _, now in statuses if status not in {REMOVED, ADDED, RENAMED})
    return Moves(renamed, paths[REMOVED], paths[ADDED], changed)


def copies(git: Git, sha: str, sources: Sequence[str], added: Sequence[str]) -> dict[str, str]:
    """The new configs that git finds to be copies of some `sources`, configs of a commit: new path to old path."""
    paths = [f":(literal){path}" for path in (*sources, *added)]
    with _tracking_all(git) as tracking:
        statuses = _statuses(tracking, sha, "--find-copies-harder", paths)
        return {now: then for status, then, now in statuses if status in {RENAMED, COPIED} and now in added}


def _statuses(git: Git, sha: str, option: str, paths: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """The status letter of each path that differs, and its names then and now."""
    names = iter(git.ask("diff", *OPTIONS, option, sha, "--", *paths).names)
    for status, then in zip(names, names, strict=False):
        yield status[0], then, next(names) if status[0] in {RENAMED, COPIED} else then


@contextmanager
def _tracking_all(git: Git) -> Iterator[Git]:
    """Git with an index of its own, in which untracked configs are marked to be added. The user's index is not changed."""
    untracked = git.ask("ls-files", "--others", "--exclude-standard", "-z", "--", *CONFIGS).names
    if not untracked:
        yield git
        return
    with tempfile.TemporaryDirectory() as folder:
        yield _tracking(git, untracked, Path(folder, "index"))


def _tracking(git: Git, paths: Sequence[str], index: Path) -> Git:
    """Git with an index at this place, in which these files are marked to be added."""
    own = git.folder / git.ask("rev-parse", "--git-path", "index").text
    if own.exists():
        shutil.copy2(own, index)  # with its time, which git compares with the times of files
    other = replace(git, index=index)
    for suffix in CONFIGS:
        if any(path.endswith(suffix[1:]) for path in paths):
            other.ask("add", "--intent-to-add", "--", suffix)
    return other
