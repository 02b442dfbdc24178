"""The git binary, run in a folder: no shell, plumbing only, and what it says turned into errors that say what to do."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from weakref import finalize

from ...errors import GitError
from ...shell import line

ELSEWHERE = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
)
"""What git sets for its hooks, and what else would lead it away from the folder in which it is run.

Most are of ``git rev-parse --local-env-vars``; GIT_CONFIG_* stay, by which CI may say safe.directory.
"""
GIT = ("git", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
"""Without the programs that a repository's settings and hooks would have git run."""
PLAINLY = {
    "LC_ALL": "C",
    "LANGUAGE": "",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": os.devnull,
}
"""What git is told by its environment; objects and their history are as their hashes say, whatever stands in for them."""
DUBIOUS = re.compile(r"dubious ownership in repository at '(.*)'|unsafe repository \('(.*)' is owned")
CHUNK = 1 << 20
NO_GIT = "git is not installed, or not on PATH: install it to compare with a ref"


@dataclass(frozen=True)
class Answer:
    """What git answered: its exit code and what it printed."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """What it printed, as text on one line."""
        return os.fsdecode(self.out).strip()

    @property
    def names(self) -> list[str]:
        """What it printed with -z, as texts."""
        return [os.fsdecode(name) for name in self.out.split(b"\0")[:-1]]


@dataclass(frozen=True)
class Git:
    """git in a folder, with an index of its own if one is given."""

    folder: Path
    index: Path | None = None

    def ask(self, *arguments: str, expected: tuple[int, ...] = (0,)) -> Answer:
        """Run a command to its end.

        Raises:
            GitError: if there is no git, or its exit code is not among those `expected`.
        """
        try:
            done = subprocess.run(  # noqa: S603 - no shell; refs never begin with "-"
                [*GIT, *arguments],  # the git that is on PATH is the user's choice
                cwd=self.folder,
                env=_environment(self.index),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError:
            raise GitError(NO_GIT) from None
        except OSError as error:
            raise GitError(f"git cannot be run: {error.strerror or error}") from None
        answer = Answer(done.returncode, done.stdout, done.stderr.decode(errors="replace").strip())
        if answer.code not in expected:
            raise _failure(answer, self.folder, arguments)
        return answer


@dataclass(frozen=True)
class Found:
    """An object that a path in a commit leads to.

    Attributes:
        kind: "blob", "tree"; "missing"; of a symbolic link that leads to nothing in the commit "symlink" (out of the
            repository), "dangling", "loop" or "notdir"; "unread" where it is not followed.
        data: the start of a blob.
    """

    kind: str
    data: bytes = b""


class Objects:
    """Objects by their name, from one `git cat-file --batch` for all of them. Symbolic links are followed."""

    def __init__(self, git: Git) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed when these objects go
        self._process = subprocess.Popen(  # noqa: S603 - no shell, and nothing of anyone else's
            [*GIT, "cat-file", "--batch", "--follow-symlinks"],
            cwd=git.folder,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        finalize(self, _end, self._process, self._errors)

    def get(self, name: str, most: int) -> Found:
        """An object such as ``1a2b3c:encoders/h.yaml``, of a blob the first `most` bytes.

        Raises:
            GitError: if git ends before it answers.
        """
        process = self._process
        assert process.stdin is not None  # noqa: S101 - both are pipes; told to the type checker
        assert process.stdout is not None  # noqa: S101
        if "\n" in name:
            raise GitError(f"git takes no name with a line break: {name!r}")
        try:
            process.stdin.write(os.fsencode(name) + b"\n")
            process.stdin.flush()
        except OSError:
            raise self._gone() from None
        header = process.stdout.readline()
        if not header:
            raise self._gone()
        return _found(header.rstrip(b"\n"), process.stdout, most)

    def _gone(self) -> GitError:
        self._process.wait()
        self._errors.seek(0)
        return GitError(f"git cat-file: {self._errors.read().decode(errors='replace').strip() or 'ended'}")


def _found(header: bytes, answer: IO[bytes], most: int) -> Found:
    if header.endswith((b" missing", b" ambiguous", b" submodule")):
        return Found("missing")
    *_, kind, size = header.split(b" ")
    data = answer.read(min(int(size), most))
    rest = int(size) + 1 - len(data)  # and a line break
    while rest > 0 and (skipped := answer.read(min(rest, CHUNK))):
        rest -= len(skipped)
    return Found(kind.decode(), data)


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # it ended before it took what was written
                pipe.close()
    process.wait()
    errors.close()


def _environment(index: Path | None = None) -> dict[str, str]:
    known = {key: value for key, value in os.environ.items() if key not in ELSEWHERE} | PLAINLY
    return known if index is None else known | {"GIT_INDEX_FILE": os.fspath(index)}


def _failure(answer: Answer, folder: Path, arguments: tuple[str, ...]) -> GitError:
    if found := DUBIOUS.search(answer.err):
        path = found[1] or found[2]
        return GitError(
            f"git does not trust {path}, which belongs to another user; if you do: "
            f"{line('git', 'config', '--global', '--add', 'safe.directory', path)}"
        )
    if "not a git repository" in answer.err:
        return GitError(f"{folder.resolve()} is in no git repository: run samattn in a clone")
    if "must be run in a work tree" in answer.err:
        return GitError(f"{folder.resolve()} is in a bare repository or in .git: run samattn in a work tree")
    return GitError(f"git {arguments[0]}: {answer.err.removeprefix('fatal: ') or f'exit code {answer.code}'}")
