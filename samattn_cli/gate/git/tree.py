"""The files of a commit, by the paths that they have on disk."""

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
from .commands import Found, Objects
from .moves import Moves
from .repository import SHORT, Commit, Repository, repository

LINK, SUBMODULE = "120000", "160000"
UNREAD = "unread"
LEADS = {
    UNREAD: "is a symbolic link with a line break in its name: give it another",
    "symlink": "is a symbolic link out of the repository",
    "dangling": BROKEN_LINK,
    "loop": "is a symbolic link to itself",
    "notdir": "is a symbolic link through a file",
}

THERE = {"blob", "tree", *LEADS}
"""Links too: reading one says where it leads."""


class OutsideError(GitError, OSError):
    """A path does not lie in the repository: it cannot be read from there, as a file may not be from the disk."""


class Tree:
    """See `samattn_cli.files.sources.Files`. Paths are those of the disk: from the working directory, or absolute."""

    def __init__(self, of: Repository, commit: Commit) -> None:
        self.repository = of
        self.commit = commit
        self._found: dict[str, Found] = {}
        self._submodules: dict[str, Tree] = {}

    @property
    def which(self) -> str:
        """See `Files`."""
        return f" at {self.commit.name}"

    def read(self, path: Path, most: int) -> bytes:
        """See `Files`."""
        inside = self.inside(path)
        found = self.find(inside)
        if found.kind == "tree":
            raise IsADirectoryError(inside)
        if found.kind in LEADS:
            raise OSError(LEADS[found.kind])
        if found.kind != "blob":
            raise FileNotFoundError(inside)
        return found.data[:most]

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

    def former(self, path: Path) -> Path:
        """The path that the file now at `path` had in the commit: another if git finds that it was renamed since."""
        names = self._names(path)
        if self.exists(path):
            return path
        then = next(filter(None, map(self.moves.renamed.get, names)), None)
        return self._as_given(then, path) if then else path

    def changed(self) -> dict[Path, Path]:
        """The configs of the commit that are another now or called otherwise: their paths then and now."""
        now = {then: name for name, then in self.moves.renamed.items()} | {
            path: path for path in self.moves.changed
        }
        return {self._as_given(then): self._as_given(path) for then, path in now.items()}

    def copies(self, sources: Iterable[Path]) -> dict[str, Path]:
        """New configs, by their paths from the root, and of which of the `sources` each is a copy, as git finds it."""
        added = self.moves.added
        inside = {os.path.normpath(self.inside(path)): path for path in sources} if added else {}
        found = self.repository.copies(self.commit, list(inside), added) if inside else {}
        return {now: inside[then] for now, then in found.items()}

    def copied(self, path: Path, copies: Mapping[str, Path]) -> Path | None:
        """Of what a file is a copy; None of one outside of the repository."""
        with suppress(OutsideError):
            return next(filter(None, map(copies.get, self._names(path))), None)
        return None

    def _names(self, path: Path) -> list[str]:
        """A path from the root of the repository, and, if it is of a link, that of what the link leads to there.

        Raises:
            OutsideError: if it does not lie in there.
        """
        names = [os.path.normpath(self.inside(path))]
        with suppress(OutsideError):
            names.append(os.path.normpath(self.inside(Path(os.path.realpath(path)))))
        return names

    def _as_given(self, inside: str, path: Path = Path()) -> Path:
        """A path from the root of the repository as another is given: absolute, or from the working directory."""
        found = self.repository.root / inside
        return found if path.is_absolute() else Path(os.path.relpath(found))

    def inside(self, path: Path) -> str:
        """A path from the root of the repository.

        Raises:
            OutsideError: if it does not lie in there.
        """
        root, given = f"{self.repository.root}{os.sep}", os.path.join(Path.cwd(), path)  # noqa: PTH118 - keeps ".."
        folder, name = os.path.split(given)
        for spelt in (given, f"{os.path.realpath(folder)}{os.sep}{name}"):
            if f"{os.path.normpath(spelt)}{os.sep}".startswith(root):
                at = spelt if spelt.startswith(root) else os.path.normpath(spelt)
                inside = at[len(root) :] or "."
                if not os.path.normpath(inside).startswith(f"..{os.sep}"):  # by a folder around, and back
                    return inside
        raise OutsideError(f"{os.path.normpath(given)} lies outside of the repository {self.repository.root}")

    def find(self, inside: str) -> Found:
        """What a path from the root leads to."""
        if inside not in self._found:
            found = self._broken(inside) if "\n" in inside else self._whole(inside)
            if found.kind == "missing":
                shorter = self._without_new_folders(inside)
                found = self._in_submodule(inside) if shorter == inside else self.find(shorter)
            elif found.kind == "dangling":
                found = self._behind_links(os.path.normpath(inside))
            self._found[inside] = found
        return self._found[inside]

    def files(self, top: str) -> Iterator[tuple[str, tuple[str, str]]]:
        """Paths below a folder that no link leads through, from there on, with modes and hashes.

        Those of submodules among them, as far as they are here; all, where the folder lies in one.
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
        """What became of its configs since."""
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

    def _whole(self, inside: str) -> Found:
        return self._objects.get(f"{self.commit.sha}:{'' if inside == '.' else inside}", MOST_BYTES)

    def _broken(self, inside: str) -> Found:
        """What a path with a line break leads to, which git does not take as a name: by its hash. No links are followed."""
        normal = os.path.normpath(inside)
        mode, sha = self._modes.get(normal, ("", ""))
        if mode == LINK:
            return Found(UNREAD)
        if sha:
            return self._objects.get(sha, MOST_BYTES)
        return Found("tree" if any(path.startswith(f"{normal}/") for path in self._modes) else "missing")

    def _without_new_folders(self, inside: str) -> str:
        """A path without "..", where it is one on disk: the folder below may not be in the commit.

        Such is the working directory where a change adds it: new/../encoders/h.yaml is encoders/h.yaml there too.
        """
        shorter = os.path.normpath(inside)
        root = self.repository.root
        return shorter if os.path.realpath(root / shorter) == os.path.realpath(root / inside) else inside

    def _in_submodule(self, inside: str) -> Found:
        normal = os.path.normpath(inside)
        for path, (mode, _) in self._modes.items():
            if mode == SUBMODULE and f"{normal}/".startswith(f"{path}/"):
                rest = normal[len(path) + 1 :]
                return self._submodule(path).find(rest or ".")
        return Found("missing")

    def _real(self, inside: str) -> str:
        """Where a path leads, its links followed, which make no loop and stay in the repository."""
        here = ""
        for part in os.path.normpath(inside).split("/"):
            here = os.path.normpath(f"{here}/{part}") if here else part
            mode, sha = self._modes.get(here, ("", ""))
            if mode == LINK:
                target = os.fsdecode(self._objects.get(sha, MOST_BYTES).data)
                here = self._real(f"{os.path.dirname(here)}/{target}".lstrip("/"))  # noqa: PTH120 - of git, not of the disk
        return here

    def _below(self, top: str) -> Iterator[str]:
        """The files below a folder, from there on, and then those behind its links to folders, each folder once."""
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

    def _behind_links(self, inside: str) -> Found:
        """What git does not follow: a link into a submodule. What a folder behind a link does not have is missing."""
        into = self._in_submodule(self._real(inside))
        if into.kind != "missing":
            return into
        folder, name = os.path.split(inside)
        itself = os.path.normpath(f"{self._real(folder)}/{name}")
        return Found("dangling" if itself in self._modes else "missing")

    def _submodule(self, path: str) -> Tree:
        """The files of a submodule as the commit has it, from the submodule's own objects.

        Raises:
            GitError: if it is not checked out, or does not have that commit.
        """
        if path not in self._submodules:
            folder, sha = self.repository.root / path, self._modes[path][1]
            if not (folder / ".git").exists():
                raise GitError(
                    f"{path} is a submodule that is not here: {line('git', 'submodule', 'update', '--init', path)}"
                )
            of = repository(folder)
            if of.find(sha) is None:
                what = f"the submodule {path} lacks {sha[:SHORT]}, which {self.commit.name} has"
                raise GitError(f"{what}: {line('git', '-C', path, 'fetch', 'origin', sha)}")
            self._submodules[path] = Tree(of, Commit(sha, self.commit.name))
        return self._submodules[path]


def _inside(folder: str) -> str:
    """How the paths in a folder begin."""
    return "" if folder == "." else f"{folder}/"
