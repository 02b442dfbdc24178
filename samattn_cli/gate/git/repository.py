"""A git repository: its commits by name, and how they are related to HEAD."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from ...errors import GitError, Message, did_you_mean
from ...records import dataclass
from ...shell import line
from .commands import Git
from .moves import Moves, copies, moves
from .provider import deepening

SHORT = 7
SHA = re.compile(r"[0-9a-f]{7,64}")
STEPS = re.compile(r"[~^@].*")
"""What may follow a ref: ~1, ^2, @{upstream}."""


@dataclass(frozen=True)
class Commit:
    """A commit, and its name in messages."""

    sha: str
    name: str

    @property
    def short(self) -> str:
        """The start of its hash."""
        return self.sha[:SHORT]

    def __str__(self) -> str:
        return self.short if self.name == self.short else f"{self.name} ({self.short})"


def repository(folder: Path | None = None) -> Repository:
    """The repository that contains a folder, by default the working directory. GIT_DIR, which git sets for hooks, is ignored.

    Raises:
        GitError: if git is not installed, if there is no repository, or if git does not trust it.
    """
    folder = folder or Path()
    if not folder.is_dir():
        raise GitError("no-such-directory", f"there is no directory {str(folder)!r}")
    answer = Git(folder).ask("rev-parse", "--is-shallow-repository", "--show-toplevel")
    shallow, _, root = answer.text.partition("\n")
    return Repository(Path(root), is_shallow=shallow == "true")


@dataclass(frozen=True)
class Repository:
    """A repository with a work tree at `root`. `is_shallow`: the clone does not have all of history."""

    root: Path
    is_shallow: bool

    @property
    def git(self) -> Git:
        """Git at its root."""
        return Git(self.root)

    def commit(self, ref: str) -> Commit:
        """The commit of a ref: a branch (of the remote, if there is none here), a tag, HEAD~1, or a hash.

        Raises:
            GitError: if there is none; the message says how to fetch it.
        """
        commit = self.find(ref)
        if commit is None:
            message = self._unknown(ref)
            raise GitError(message.code, message)
        return commit

    def find(self, ref: str) -> Commit | None:
        """As `commit`, but None if there is none. A branch is preferred to a tag of the same name, which anyone may push."""
        if not ref.strip() or ref.startswith("-") or not ref.isprintable():
            return None
        for full, name in (*self._branches(ref), (ref, ref)):
            answer = self.git.ask(
                "rev-parse", "--verify", "--quiet", f"{full}^{{commit}}", expected=(0, 1, 128)
            )
            if answer.code == 0:
                return Commit(answer.text, answer.text[:SHORT] if answer.text.startswith(name) else name)
        return None

    def _branches(self, ref: str) -> Iterator[tuple[str, str]]:
        """The full names of branches that a ref may mean, here and of the remote, and their names in messages."""
        start = STEPS.sub("", ref)
        if start.startswith("refs/") or start in {"", "HEAD"} or SHA.fullmatch(start):
            return
        yield f"refs/heads/{ref}", ref
        yield f"refs/remotes/{ref}", ref
        if self.remote:
            yield f"refs/remotes/{self.remote}/{ref}", f"{self.remote}/{ref}"

    def merge_base(self, commit: Commit) -> Commit:
        """The merge base of HEAD and a commit.

        Raises:
            GitError: if they have no common ancestor, or the clone is too shallow to tell.
        """
        head = self.commit("HEAD")
        answer = self.git.ask("merge-base", head.sha, commit.sha, expected=(0, 1))
        if answer.code == 0:
            return commit if answer.text == commit.sha else Commit(answer.text, answer.text[:SHORT])
        if self.is_shallow:
            advice = self.unshallow(commit.name)
            text = (
                f"this clone is too shallow to find the common ancestor of HEAD and {commit.name}: {advice}"
            )
            raise GitError("shallow-clone", text)
        text = f"HEAD and {commit} have no common ancestor: choose a base from the history of HEAD"
        raise GitError("no-common-ancestor", text)

    @property
    def is_clean(self) -> bool:
        """Whether there is no uncommitted work, apart from ignored files."""
        return not self.git.ask("status", "--porcelain", "--untracked-files=normal").out

    def moves(self, commit: Commit) -> Moves:
        """What happened to the configs of a commit since."""
        return moves(self.git, commit.sha)

    def copies(self, commit: Commit, sources: Sequence[str], added: Sequence[str]) -> dict[str, str]:
        """The new configs that are copies of some `sources`, configs of a commit."""
        return copies(self.git, commit.sha, sources, added)

    def last_change(self, path: Path) -> Commit | None:
        """The last commit up to HEAD that changed a file; None if there is none."""
        head = self.find("HEAD")
        sha = head and self.git.ask("log", "-1", "--format=%H", "--", f":(top,literal){path}").text
        return Commit(sha, sha[:SHORT]) if sha else None

    @cached_property
    def remote(self) -> str:
        """The remote to fetch from: origin if it exists, else the first; "" if there is none."""
        remotes = self.git.ask("remote").text.split()
        return "origin" if "origin" in remotes else next(iter(remotes), "")

    def unshallow(self, name: str) -> str:
        """The command that completes a shallow clone."""
        return f"git fetch --unshallow {self._what(name)}{deepening()}"

    def fetch(self, name: str) -> str:
        """The command that fetches a ref."""
        if not self.remote:
            return "there is no remote to fetch it from, so name another with --base"
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

    def _unknown(self, ref: str) -> Message:
        """Why there is no commit of a ref, and what to do."""
        start = STEPS.sub("", ref)
        if start == "HEAD" and self.find("HEAD") is None:
            text = "the repository has no commit yet: commit something to compare with"
            return Message("no-commit-yet", text)
        return Message("unknown-ref", f"there is no commit {ref!r} here{self._instead(ref, start)}")

    def _instead(self, ref: str, start: str) -> str:
        """What to do about an unknown ref; `start` is the ref without ~1 and the like."""
        if not ref.strip():
            return ": name a ref, such as main"
        if start != ref and start and self.find(start) is not None:
            return f": {self.unshallow('')}" if self.is_shallow else f": {start} has no such ancestor"
        hint = did_you_mean(ref, self._refs())
        return f"{hint}; to fetch it: {self.fetch(ref)}" if self.remote else hint

    def _refs(self) -> list[str]:
        answer = self.git.ask(
            "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes", "refs/tags"
        )
        return answer.text.split()
