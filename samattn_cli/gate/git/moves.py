"""What became of the configs of a commit: which changed, which are called otherwise now, and which are gone or new."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from .commands import Git

CONFIGS = ("*.yaml", "*.yml")
OPTIONS = ("--no-ext-diff", "--no-textconv", "--name-status", "-l1000", "-z")
"""The limit of how much is compared is git's own, as a setting of this machine may be another."""
RENAMED, COPIED, ADDED, REMOVED = "R", "C", "A", "D"


@dataclass(frozen=True)
class Moves:
    """Paths from the root of the repository.

    Attributes:
        renamed: what a config is called now, to what the commit calls it.
        removed: what the commit has and nothing now is alike.
        added: what is new, and not called otherwise before.
        changed: what is called as it was and is not as it was.
    """

    renamed: Mapping[str, str]
    removed: tuple[str, ...]
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def moves(git: Git, sha: str) -> Moves:
    """Between a commit and the work tree, files that git does not track yet among it (ignored ones are not)."""
    with _tracking_all(git) as tracking:
        found = list(_statuses(tracking, sha, "--find-renames", CONFIGS))
    paths = {kind: tuple(now for status, _, now in found if status == kind) for kind in (REMOVED, ADDED)}
    renamed = {now: then for status, then, now in found if status == RENAMED}
    changed = tuple(now for status, _, now in found if status not in {REMOVED, ADDED, RENAMED})
    return Moves(renamed, paths[REMOVED], paths[ADDED], changed)


def copies(git: Git, sha: str, sources: Sequence[str], added: Sequence[str]) -> dict[str, str]:
    """New configs, to that one of the `sources`, configs of a commit, of which git takes each for a copy."""
    paths = [f":(literal){path}" for path in (*sources, *added)]
    with _tracking_all(git) as tracking:
        found = _statuses(tracking, sha, "--find-copies-harder", paths)
        return {now: then for status, then, now in found if status in {RENAMED, COPIED} and now in added}


def _statuses(git: Git, sha: str, option: str, paths: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """What became of each path: a letter, and its names then and now."""
    names = iter(git.ask("diff", *OPTIONS, option, sha, "--", *paths).names)
    for status, then in zip(names, names, strict=False):
        yield status[0], then, next(names) if status[0] in {RENAMED, COPIED} else then


@contextmanager
def _tracking_all(git: Git) -> Iterator[Git]:
    """Git with an index of its own, in which configs that it does not track are to be added: the user's is left alone."""
    untracked = git.ask("ls-files", "--others", "--exclude-standard", "-z", "--", *CONFIGS).names
    if not untracked:
        yield git
        return
    with tempfile.TemporaryDirectory() as folder:
        yield _tracking(git, untracked, Path(folder, "index"))


def _tracking(git: Git, paths: Sequence[str], index: Path) -> Git:
    """Git with an index at this place, in which these files are to be added."""
    own = git.folder / git.ask("rev-parse", "--git-path", "index").text
    if own.exists():
        shutil.copy2(own, index)  # with its time, by which git tells what changed right after it was written
    other = replace(git, index=index)
    for suffix in CONFIGS:
        if any(path.endswith(suffix[1:]) for path in paths):
            other.ask("add", "--intent-to-add", "--", suffix)
    return other
