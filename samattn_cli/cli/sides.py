"""The two sides of a comparison: files, presets, and files as they were at a git ref (REF:PATH)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..encoder.presets import presets
from ..errors import GitError, did_you_mean
from ..files.load import Loaded, Override, load_located
from ..files.sources import STDIN
from ..gate.git import Commit, Repository, Tree, base_of, repository
from ..records import dataclass

HERE = ("./", "../")


@dataclass(frozen=True)
class Side:
    """A config and its name in the report."""

    name: str
    loaded: Loaded


def side(reference: str, laid_over: Sequence[Override]) -> Side:
    """The config that a reference names: a file or preset, or REF:PATH, a file as git has it.

    Raises:
        GitError: if there is no such ref, or no such file in it.
        ConfigError: if the file is not a valid config.
    """
    if not is_ref(reference):
        loaded = load_located(reference, laid_over)
        return Side(loaded.label if reference == STDIN else reference, loaded)
    ref, _, path = reference.partition(":")
    here = repository()
    tree = Tree(here, here.commit(ref))
    return _at(tree, _from_root(path, here), laid_over)


def now(reference: str, laid_over: Sequence[Override]) -> Side:
    """The file of a REF:PATH as it is now, also if it was renamed since.

    Raises:
        GitError: if the file no longer exists.
    """
    ref, _, path = reference.partition(":")
    here = repository()
    commit, then = here.commit(ref), _from_root(path, here)
    file = _later(here, commit, then)
    if not file.exists():
        raise GitError(
            "file-not-found",
            f"{file} no longer exists, so there is nothing to compare {reference} with; give the second config",
        )
    return Side(str(file), load_located(file, laid_over))


def before(file: str, request: str | None, laid_over: Sequence[Override]) -> Side:
    """A file as it was at a base (by default at HEAD), under the name that it had there.

    Raises:
        GitError: if it did not exist there.
    """
    folder = Path(file).resolve().parent
    here = repository(folder if folder.is_dir() else None)
    commit = here.commit("HEAD") if request is None else base_of(request, here).commit
    tree = Tree(here, commit)
    return _at(tree, tree.old_path(Path(file)), laid_over)


def is_ref(reference: str) -> bool:
    """Whether a reference is REF:PATH."""
    return ":" in reference and not os.path.exists(reference)  # noqa: PTH110 - False for a name that is too long


def is_file(reference: str) -> bool:
    """Whether a reference is a file on the disk."""
    return os.path.isfile(reference)  # noqa: PTH113 - as above


def _at(tree: Tree, path: Path, laid_over: Sequence[Override]) -> Side:
    if not tree.exists(path):
        raise GitError("not-in-commit", f"{_missing(tree, path)}")
    loaded = load_located(path, laid_over, files=tree)
    return Side(loaded.label, loaded)


def _missing(tree: Tree, path: Path) -> str:
    """Say that a commit does not have a file, and what the user probably meant."""
    inside = os.path.normpath(tree.inside(path))
    missing = f"no file {inside!r} in {tree.commit}"
    if inside in presets():
        return f"{missing}; for the preset of that name, which ships with samattn, write {inside}"
    if tree.exists(Path(inside)):
        return f"{missing}; there is one relative to this directory: write REF:./{inside}"
    files = [os.path.normpath(tree.inside(file)) for file in tree.glob(tree.repository.root, "**/*.y*ml")]
    namesake = next((file for file in files if Path(file).name == path.name), "")
    return f"{missing}; did you mean '{namesake}'?" if namesake else f"{missing}{did_you_mean(inside, files)}"


def _from_root(path: str, here: Repository) -> Path:
    """A path of REF:PATH, which git takes relative to the root of the repository unless it begins with ./ or ../.

    Raises:
        GitError: if it is empty.
    """
    if not path.strip():
        raise GitError(
            "missing-path", "the path after REF: is missing; write REF:PATH, such as main:encoders/h.yaml"
        )
    return Path(path) if path.startswith(HERE) else Path(os.path.relpath(here.root / path))


def _later(here: Repository, commit: Commit, then: Path) -> Path:
    """The present path of a file of a commit."""
    if then.exists():
        return then
    inside = Tree(here, commit).inside(then)
    renamed = (now for now, was in here.moves(commit).renamed.items() if was == os.path.normpath(inside))
    return next((Path(os.path.relpath(here.root / name)) for name in renamed), then)
