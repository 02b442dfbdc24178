"""The commit that a change is to be compared with: where it left the branch that it is to go into."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import GitError
from .provider import candidates
from .repository import Commit, Repository

AUTO = "auto"
USUAL = ("HEAD", "main", "master")
"""Names of the main branch: what the remote calls it, then the usual ones, of the remote first."""


@dataclass(frozen=True)
class Base:
    """The commit, the ref that it is the merge base with, why it is that one, and whether HEAD is that commit."""

    commit: Commit
    ref: str
    why: str
    is_head: bool = False

    def __str__(self) -> str:
        return str(self.commit) if self.commit.name == self.ref else f"{self.ref} ({self.commit.short})"


def base_of(request: str, repository: Repository) -> Base:
    """The base that is asked for: of HEAD and a ref, or "auto".

    "auto" is what the CI's variables name; outside of CI, and where it builds no change, the remote's main branch, or
    main or master here.

    Raises:
        GitError: if it cannot be found here, with what would bring it.
    """
    if request != AUTO:
        return _base(repository, repository.commit(request), f"--base {request}")
    named = candidates()
    for ref, why in named or _usual(repository):
        if commit := repository.find(ref):
            return _base(repository, commit, why)
    if named:
        ref, why = named[0]
        raise GitError(f"the base is {ref} ({why}), which is not in this clone: {repository.fetch(ref)}")
    said = "this repository has no main branch"
    if repository.is_shallow and repository.remote:
        raise GitError(
            f"this clone is shallow and has no main branch: {repository.fetch('main')} (or what yours is called)"
        )
    raise GitError(f"{said}: name the base, such as --base HEAD~1")


def _base(repository: Repository, commit: Commit, why: str) -> Base:
    base = repository.merge_base(commit)
    return Base(base, commit.name, why, is_head=base.sha == repository.commit("HEAD").sha)


def _usual(repository: Repository) -> list[tuple[str, str]]:
    remote = repository.remote
    there = [f"{remote}/{name}" for name in USUAL] if remote else []
    return [(name, f"no CI names a base; {name} is here") for name in (*there, *USUAL[1:])]
