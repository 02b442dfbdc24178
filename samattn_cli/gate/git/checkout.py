"""All files of a commit on the disk, in a folder of their own. The work tree and the user's index are not touched."""

from __future__ import annotations

from pathlib import Path

from .commands import Git
from .repository import Commit, Repository

WHOLE = ("-c", "core.sparseCheckout=false")
FILES, INDEX = "files", "index"


def checked_out(repository: Repository, commit: Commit, folder: Path) -> Path:
    """Write the files of a commit below an empty folder; without those of submodules. Returns their root.

    Raises:
        GitError: if git cannot read them.
    """
    files = folder.resolve() / FILES
    git = Git(repository.root, folder.resolve() / INDEX)
    git.ask(*WHOLE, "read-tree", commit.sha)
    git.ask(*WHOLE, "checkout-index", "--all", "--force", f"--prefix={files}/")
    files.mkdir(exist_ok=True)  # of a commit without files
    return files
