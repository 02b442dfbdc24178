"""Files as they are in a commit, straight from git's objects: no checkout, nothing written, but by `checked_out`.

`repository(folder)` finds the repository, and `base_of` the commit to compare a change with. `Tree(repository, commit)` has the
files of a commit; `load_config` reads them as it reads the disk.
"""

from __future__ import annotations

from .base import AUTO, Base, base_of
from .checkout import checked_out
from .repository import Commit, Repository, repository
from .tree import Tree

__all__ = ["AUTO", "Base", "Commit", "Repository", "Tree", "base_of", "checked_out", "repository"]
