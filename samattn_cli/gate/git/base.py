"""The commit that a change is compared with: where it left the branch into which it will be merged."""

from __future__ import annotations

from ...errors import GitError
from ...records import dataclass
from .provider import candidates
from .repository import Commit, Repository

AUTO = "auto"
USUAL = ("HEAD", "main", "master")
"""Names of the main branch, those of the remote first. The remote's HEAD is its default branch."""


@dataclass(frozen=True)
class Base:
    """The commit, the ref that it is the merge base with, why that ref was chosen, and whether HEAD is the commit."""

    commit: Commit
    ref: str
    why: str
    is_head: bool = False

    def __str__(self) -> str:
        return str(self.commit) if self.commit.name == self.ref else f"{self.ref} ({self.commit.short})"


def base_of(request: str, repository: Repository) -> Base:
    """The merge base of HEAD and a ref, or of HEAD and what "auto" means.

    "auto" is the ref that variables of CI name; outside CI, or if CI builds no change, the remote's main branch, else main
    or master here.

    Raises:
        GitError: if this clone does not have it; the message says how to fetch it.
    """
    if request != AUTO:
        return _base(repository, repository.commit(request), f"--base {request}")
    named = candidates()
    for ref, why in named or _usual(repository):
        if commit := repository.find(ref):
            return _base(repository, commit, why)
    if named:
        ref, why = named[0]
        text = f"this clone does not have the base {ref} ({why}): {repository.fetch(ref)}"
        raise GitError("base-not-fetched", text)
    if repository.is_shallow and repository.remote:
        advice = f"{repository.fetch('main')} (or the name of yours)"
        raise GitError("shallow-clone", f"this clone is shallow and has no main branch: {advice}")
    text = "this repository has no main branch: name the base, such as --base HEAD~1"
    raise GitError("no-main-branch", text)


def _base(repository: Repository, commit: Commit, why: str) -> Base:
    base = repository.merge_base(commit)
    return Base(base, commit.name, why, is_head=base.sha == repository.commit("HEAD").sha)


def _usual(repository: Repository) -> list[tuple[str, str]]:
    remote = repository.remote
    of_remote = [f"{remote}/{name}" for name in USUAL] if remote else []
    return [(name, f"CI names no base, and {name} exists") for name in (*of_remote, *USUAL[1:])]
