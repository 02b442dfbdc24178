"""The files of a commit, by their paths on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from ...errors import GitError
from ...files.globs import matches
from ...files.reading import BROKEN_LINK
from ...files.sources import MOST_BYTES, split_pattern
from ...shell import line
from .commands import GitObject, Objects
from .moves import Moves
from .paths import OutsideError, inside_root, names_inside, on_disk
from .repository import SHORT, Commit, Repository, repository

LINK, SUBMODULE = "120000", "160000"
UNREAD = "unread"
LEADS = {
    UNREAD: "it is a symbolic link with a line break in its name: rename it",
    "symlink": "it is a symbolic link to a place outside the repository",
    "dangling": BROKEN_LINK,
    "loop": "it is a symbolic link to itself",
    "notdir": "it is a symbolic link through a file",
}

THERE = {"blob", "tree", *LEADS}
"""Broken links are files too: reading one reports what is wrong with it."""


class Tree:
    """See `samattn_cli.files.sources.Files`. Paths are those on the disk: from the working directory, or absolute."""

    def __init__(self, repository: Repository, commit: Commit) -> None:
        self.repository = repository
        self.commit = commit
        self._known: dict[str, GitObject] = {}
        self._insides: dict[str, str] = {}
        self._submodules: dict[str, Tree] = {}

    @property
    def which(self) -> str:
        """See `Files`."""
        return f" at {self.commit.name}"

    def read(self, path: Path, most: int) -> bytes:
        """See `Files`."""
        inside = self.inside(path)
        each = self.find(inside)
        if each.kind == "tree":
            raise IsADirectoryError(inside)
        if each.kind in LEADS:
            raise OSError(LEADS[each.kind])
        if each.kind != "blob":
            raise FileNotFoundError(inside)
        return each.data[:most]

    def exists(self, path: Path) -> bool:
        """See `Files`."""
        return self._kind(path) in THERE

    def is_dir(self, path: Path) -> bool:
        """See `Files`."""
        return self._kind(path) == "tree"

    def label(self, path: Path) -> str:
        """See `Files`."""
        return f"{self.commit.name}:{os.path.normpath(self.inside(path))}"

    def glob(self, folder: Path, pattern: str) -> list[Path]:
        """See `Files`."""
        start, rest = split_pattern(pattern)
        base = folder / start
        if not rest:
            return [base] if self._kind(base) == "blob" else []
        top = os.path.normpath(self.inside(base))
        matching = (base / path for path in self._below(top) if matches(rest, path))
        return sorted(path for path in matching if self._kind(path) in {"blob", *LEADS})

    def old_path(self, path: Path) -> Path:
        """The path in the commit of the file that is now at `path`: a different one if git finds that it was renamed."""
        if self.exists(path):
            return path
        names = names_inside(self.repository.root, path)
        then = next(filter(None, map(self.moves.renamed.get, names)), None)
        return self._on_disk(then, path) if then else path

    def changed(self) -> dict[Path, Path]:
        """The configs of the commit that were changed or renamed: path then to path now."""
        now = {then: name for name, then in self.moves.renamed.items()} | {
            path: path for path in self.moves.changed
        }
        return {self._on_disk(then): self._on_disk(path) for then, path in now.items()}

    def copies(self, sources: Iterable[Path]) -> dict[str, Path]:
        """The new configs that git finds to be copies of some `sources`: new path from the root to source."""
        added = self.moves.added
        inside = {os.path.normpath(self.inside(path)): path for path in sources} if added else {}
        pairs = self.repository.copies(self.commit, list(inside), added) if inside else {}
        return {now: inside[then] for now, then in pairs.items()}

    def copied_from(self, path: Path, copies: Mapping[str, Path]) -> Path | None:
        """The original of a file, if `copies` has one."""
        with suppress(OutsideError):
            return next(filter(None, map(copies.get, names_inside(self.repository.root, path))), None)
        return None

    def inside(self, path: Path) -> str:
        """A path on the disk as a path from the root of the repository.

        Raises:
            OutsideError: if it is outside the repository.
        """
        name = os.fspath(path)
        if name not in self._insides:
            self._insides[name] = inside_root(self.repository.root, path)
        return self._insides[name]

    def _on_disk(self, inside: str, like: Path = Path()) -> Path:
        return on_disk(self.repository.root, inside, like)

    def find(self, inside: str) -> GitObject:
        """The object at the end of a path from the root."""
        if inside not in self._known:
            self._known[inside] = self._find(inside)
        return self._known[inside]

    def _find(self, inside: str) -> GitObject:
        each = self._with_line_break(inside) if "\n" in inside else self._whole(inside)
        if each.kind == "missing":
            shorter = self._without_new_folders(inside)
            return self._in_submodule(inside) if shorter == inside else self.find(shorter)
        return self._through_links(os.path.normpath(inside)) if each.kind == "dangling" else each

    def files(self, top: str) -> Iterator[tuple[str, tuple[str, str]]]:
        """The files below a folder, as paths from that folder, with modes and hashes. Links are not followed.

        Files of submodules are included if they are checked out, or if the folder is in one.
        """
        before = _inside(top)
        for path, about in self._modes.items():
            if about[0] != SUBMODULE:
                if path.startswith(before):
                    yield path[len(before) :], about
            elif before.startswith(f"{path}/"):
                yield from self._submodule(path).files(os.path.normpath(before[len(path) + 1 :]))
            elif path.startswith(before) and (self.repository.root / path / ".git").exists():
                for name, of in self._submodule(path).files("."):
                    yield f"{path[len(before) :]}/{name}", of

    @cached_property
    def _objects(self) -> Objects:
        return Objects(self.repository.git)

    @cached_property
    def moves(self) -> Moves:
        """What happened to its configs since."""
        return self.repository.moves(self.commit)

    @cached_property
    def _modes(self) -> dict[str, tuple[str, str]]:
        """Mode and hash of each file, symbolic link and submodule by its path."""
        names = self.repository.git.ask("ls-tree", "-r", "-z", "--full-tree", self.commit.sha).names
        entries = (name.partition("\t") for name in names)
        return {path: (about.split()[0], about.split()[2]) for about, _, path in entries}

    def _kind(self, path: Path) -> str:
        try:
            return self.find(self.inside(path)).kind
        except OutsideError:
            return "missing"

    def _whole(self, inside: str) -> GitObject:
        return self._objects.get(f"{self.commit.sha}:{'' if inside == '.' else inside}", MOST_BYTES)

    def _with_line_break(self, inside: str) -> GitObject:
        """The object of a path with a line break, which git cannot look up by name, so by its hash. Links are not followed."""
        normal = os.path.normpath(inside)
        mode, sha = self._modes.get(normal, ("", ""))
        if mode == LINK:
            return GitObject(UNREAD)
        if sha:
            return self._objects.get(sha, MOST_BYTES)
        return GitObject("tree" if any(path.startswith(f"{normal}/") for path in self._modes) else "missing")

    def _without_new_folders(self, inside: str) -> str:
        """A path without "..", if it leads to the same place on the disk.

        The commit may not have the folder before "..": if a change adds the working directory `new`, then
        new/../encoders/h.yaml is encoders/h.yaml in the commit.
        """
        shorter = os.path.normpath(inside)
        root = self.repository.root
        return shorter if os.path.realpath(root / shorter) == os.path.realpath(root / inside) else inside

    def _in_submodule(self, inside: str) -> GitObject:
        normal = os.path.normpath(inside)
        for path, (mode, _) in self._modes.items():
            if mode == SUBMODULE and f"{normal}/".startswith(f"{path}/"):
                rest = normal[len(path) + 1 :]
                return self._submodule(path).find(rest or ".")
        return GitObject("missing")

    def _real(self, inside: str) -> str:
        """The target of a path whose links make no loop and stay in the repository."""
        here = ""
        for part in os.path.normpath(inside).split("/"):
            here = os.path.normpath(f"{here}/{part}") if here else part
            mode, sha = self._modes.get(here, ("", ""))
            if mode == LINK:
                target = os.fsdecode(self._objects.get(sha, MOST_BYTES).data)
                here = self._real(f"{os.path.dirname(here)}/{target}".lstrip("/"))  # noqa: PTH120 - a path of git, not of the disk
        return here

    def _below(self, top: str) -> Iterator[str]:
        """The files below a folder, as paths from that folder. Links to folders are followed, into each folder once."""
        queue, walked = [top], list[str]()
        for shown in queue:
            real = self._real(shown)
            for path, (mode, _) in self.files(real):
                if os.path.normpath(f"{real}/{path}").startswith(tuple(map(_inside, walked))):
                    continue
                name = os.path.normpath(f"{shown}/{path}")
                if mode == LINK and self.find(name).kind == "tree":
                    queue.append(name)
                else:
                    yield os.path.relpath(name, top)
            walked.append(real)

    def _through_links(self, inside: str) -> GitObject:
        """The object of a path with a link that git does not follow, because it leads into a submodule or to nothing."""
        into = self._in_submodule(self._real(inside))
        if into.kind != "missing":
            return into
        folder, name = os.path.split(inside)
        itself = os.path.normpath(f"{self._real(folder)}/{name}")
        return GitObject("dangling" if itself in self._modes else "missing")

    def _submodule(self, path: str) -> Tree:
        """The files of a submodule at the commit that the parent's commit names, from the submodule's own objects.

        Raises:
            GitError: if it is not checked out, or does not have that commit.
        """
        if path not in self._submodules:
            folder, sha = self.repository.root / path, self._modes[path][1]
            if not (folder / ".git").exists():
                advice = line("git", "submodule", "update", "--init", path)
                text = f"the submodule {path} is not checked out: {advice}"
                raise GitError("no-submodule", text)
            inner = repository(folder)
            if inner.find(sha) is None:
                advice = line("git", "-C", path, "fetch", "origin", sha)
                text = f"the submodule {path} does not have commit {sha[:SHORT]}, which {self.commit.name} refers to: {advice}"
                raise GitError("base-not-fetched", text)
            self._submodules[path] = Tree(inner, Commit(sha, self.commit.name))
        return self._submodules[path]


def _inside(folder: str) -> str:
    """What the paths in a folder begin with."""
    return "" if folder == "." else f"{folder}/"
