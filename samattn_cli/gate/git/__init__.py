"""Files as they are in a commit, straight from git's objects: no checkout, nothing written.

`repository(folder)` finds the repository, `Repository.tree(ref)` is a commit's files, which `load_config` reads as it does
the disk, and `base_of` names the commit that a change is to be compared with.
"""

from __future__ import annotations

from .base import AUTO, Base, base_of
from .repository import Commit, Repository, repository
from .tree import Tree

__all__ = ["AUTO", "Base", "Commit", "Repository", "Tree", "base_of", "repository"]
