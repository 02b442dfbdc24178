"""A git repository: its commits by name, and how they are related to what is checked out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...errors import GitError, did_you_mean
from ...shell import line
from .commands import Git
from .moves import Moves, copies, moves
from .provider import deepening

SHORT = 7
SHA = re.compile(r"[0-9a-f]{7,64}")
STEPS = re.compile(r"[~^@].*")
"""What may stand behind a ref: ~1, ^2, @{upstream}."""


@dataclass(frozen=True)
class Commit:
    """A commit and what messages call it."""

    sha: str
    name: str

    @property
    def short(self) -> str:
        """The start of its hash."""
        return self.sha[:SHORT]

    def __str__(self) -> str:
        return self.short if self.name == self.short else f"{self.name} ({self.short})"


def repository(folder: Path | None = None) -> Repository:
    """The repository that a folder is in, by default the working directory. What a hook's GIT_DIR says is passed over.

    Raises:
        GitError: if there is no git, no repository, or one that git does not trust.
    """
    folder = folder or Path()
    if not folder.is_dir():
        raise GitError(f"there is no folder {str(folder)!r}")
    answer = Git(folder).ask("rev-parse", "--is-shallow-repository", "--show-toplevel")
    shallow, _, root = answer.text.partition("\n")
    return Repository(Path(root), is_shallow=shallow == "true")


@dataclass(frozen=True)
class Repository:
    """A repository with a work tree at `root`; `is_shallow`: its history is cut."""

    root: Path
    is_shallow: bool

    @property
    def git(self) -> Git:
        """Git at its root."""
        return Git(self.root)

    def commit(self, ref: str) -> Commit:
        """The commit that a ref names: a branch (of the remote, if there is none here), a tag, HEAD~1, a hash.

        Raises:
            GitError: if there is none, with what would fetch it.
        """
        found = self.find(ref)
        if found is None:
            raise GitError(self._unknown(ref))
        return found

    def find(self, ref: str) -> Commit | None:
        """As `commit`; None where there is none. A branch goes before a tag of its name, which anyone may push."""
        if not ref.strip() or ref.startswith("-") or not ref.isprintable():
            return None
        for asked, name in (*self._branches(ref), (ref, ref)):
            answer = self.git.ask(
                "rev-parse", "--verify", "--quiet", f"{asked}^{{commit}}", expected=(0, 1, 128)
            )
            if answer.code == 0:
                return Commit(answer.text, answer.text[:SHORT] if answer.text.startswith(name) else name)
        return None

    def _branches(self, ref: str) -> Iterator[tuple[str, str]]:
        """The full names of branches that a ref may mean, here and of the remote, and what messages call them."""
        start = STEPS.sub("", ref)
        if start.startswith("refs/") or start in {"", "HEAD"} or SHA.fullmatch(start):
            return
        yield f"refs/heads/{ref}", ref
        yield f"refs/remotes/{ref}", ref
        if self.remote:
            yield f"refs/remotes/{self.remote}/{ref}", f"{self.remote}/{ref}"

    def merge_base(self, commit: Commit) -> Commit:
        """Where what is checked out left the history of a commit: that commit itself, if nothing was added to it since.

        Raises:
            GitError: if they have none in common, or the clone is too shallow to say.
        """
        head = self.commit("HEAD")
        answer = self.git.ask("merge-base", head.sha, commit.sha, expected=(0, 1))
        if answer.code == 0:
            return commit if answer.text == commit.sha else Commit(answer.text, answer.text[:SHORT])
        if self.is_shallow:
            raise GitError(
                f"this clone is too shallow to say where HEAD left {commit.name}: {self.unshallow(commit.name)}"
            )
        raise GitError(f"HEAD and {commit} have no commit in common: name a base from the history of HEAD")

    @property
    def is_clean(self) -> bool:
        """Whether all files are as HEAD has them, except for those that git ignores."""
        return not self.git.ask("status", "--porcelain", "--untracked-files=normal").out

    def moves(self, commit: Commit) -> Moves:
        """What became of the configs of a commit since."""
        return moves(self.git, commit.sha)

    def copies(self, commit: Commit, sources: Sequence[str], added: Sequence[str]) -> dict[str, str]:
        """Which new configs are copies of some that a commit has."""
        return copies(self.git, commit.sha, sources, added)

    def last_change(self, path: Path) -> Commit | None:
        """The last commit up to HEAD that changed a file; None where none did."""
        head = self.find("HEAD")
        sha = head and self.git.ask("log", "-1", "--format=%H", "--", f":(top,literal){path}").text
        return Commit(sha, sha[:SHORT]) if sha else None

    @cached_property
    def remote(self) -> str:
        """The remote to fetch from: origin if there is one; "" if there is none."""
        remotes = self.git.ask("remote").text.split()
        return "origin" if "origin" in remotes else next(iter(remotes), "")

    def unshallow(self, name: str) -> str:
        """What completes a shallow clone."""
        return f"git fetch --unshallow {self._what(name)}{deepening()}"

    def fetch(self, name: str) -> str:
        """What brings a ref here."""
        if not self.remote:
            return "there is no remote to fetch it from: name another with --base"
        if self.is_shallow:
            return self.unshallow(name)
        return f"git fetch {self._what(name)}"

    def _what(self, name: str) -> str:
        branch = STEPS.sub("", name).removeprefix(f"{self.remote}/")
        if branch in {"", "HEAD"}:
            return self.remote
        if SHA.fullmatch(branch):
            return line(self.remote, branch)
        return line(self.remote, f"{branch}:refs/remotes/{self.remote}/{branch}")

    def _unknown(self, ref: str) -> str:
        if not ref.strip():
            return f"there is no commit {ref!r} here: name a ref, such as main"
        start = STEPS.sub("", ref)
        if start == "HEAD" and self.find("HEAD") is None:
            return "there is no commit yet: commit something to compare with"
        said = f"there is no commit {ref!r} here"
        if start != ref and start and self.find(start) is not None:
            return (
                f"{said}: {self.unshallow('')}"
                if self.is_shallow
                else f"{said}: {start} has no such ancestor"
            )
        said += did_you_mean(ref, self._refs())
        return f"{said}; to fetch it: {self.fetch(ref)}" if self.remote else said

    def _refs(self) -> list[str]:
        answer = self.git.ask(
            "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes", "refs/tags"
        )
        return answer.text.split()
