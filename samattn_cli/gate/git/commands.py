"""Runs the git binary in a folder, without a shell. Errors of git become messages that say what to do."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO
from weakref import finalize

from ...errors import GitError
from ...records import dataclass
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
"""Variables that git sets for its hooks, and others that would make it use another repository than the folder's.

Most are listed by ``git rev-parse --local-env-vars``. GIT_CONFIG_* are kept, because CI may set safe.directory with them.
"""
GIT = ("git", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
"""git, without the programs that settings and hooks of a repository would make it run."""
PLAINLY = {
    "LC_ALL": "C",
    "LANGUAGE": "",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": os.devnull,
}
"""Environment of git. Messages are in English, and replacement objects and grafts are ignored."""
DUBIOUS = re.compile(r"dubious ownership in repository at '(.*)'|unsafe repository \('(.*)' is owned")
CHUNK = 1 << 20
NO_GIT = "git is not installed or not on PATH: install it to compare with a ref"


@dataclass(frozen=True)
class Answer:
    """The exit code of git, and its output."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Its output as text without line breaks around it."""
        return os.fsdecode(self.out).strip()

    @property
    def names(self) -> list[str]:
        """Its output with -z, as a list of texts."""
        return [os.fsdecode(name) for name in self.out.split(b"\0")[:-1]]


@dataclass(frozen=True)
class Git:
    """git in a folder, with its own index if `index` is set."""

    folder: Path
    index: Path | None = None

    def ask(self, *arguments: str, expected: tuple[int, ...] = (0,)) -> Answer:
        """Run a command.

        Raises:
            GitError: if git is not installed, or its exit code is not one of `expected`.
        """
        try:
            done = subprocess.run(  # noqa: S603 - no shell; refs never begin with "-"
                [*GIT, *arguments],  # git is found on PATH, which is the user's choice
                cwd=self.folder,
                env=_environment(self.index),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError:
            raise GitError("no-git", NO_GIT) from None
        except OSError as error:
            raise GitError("git-fails", f"git cannot be run: {error.strerror or error}") from None
        answer = Answer(done.returncode, done.stdout, done.stderr.decode(errors="replace").strip())
        if answer.code not in expected:
            raise _failure(answer, self.folder, arguments)
        return answer


@dataclass(frozen=True)
class GitObject:
    """The object at the end of a path in a commit.

    Attributes:
        kind: "blob", "tree" or "missing"; for a symbolic link that cannot be followed in the commit "symlink" (it leads out
            of the repository), "dangling", "loop", "notdir", or "unread" (samattn does not follow it).
        data: the start of a blob.
    """

    kind: str
    data: bytes = b""


class Objects:
    """Objects by name, all from one `git cat-file --batch`. Symbolic links are followed."""

    def __init__(self, git: Git) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed when these objects go
        self._process = subprocess.Popen(  # noqa: S603 - no shell, and no input of a user
            [*GIT, "cat-file", "--batch", "--follow-symlinks"],
            cwd=git.folder,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        finalize(self, _end, self._process, self._errors)

    def get(self, name: str, most: int) -> GitObject:
        """An object such as ``1a2b3c:encoders/h.yaml``; of a blob the first `most` bytes.

        Raises:
            GitError: if git ends before it answers.
        """
        process = self._process
        assert process.stdin is not None  # noqa: S101 - both are pipes; for the type checker
        assert process.stdout is not None  # noqa: S101
        if "\n" in name:
            raise GitError("line-break-in-name", f"git cannot look up a name with a line break: {name!r}")
        try:
            process.stdin.write(os.fsencode(name) + b"\n")
            process.stdin.flush()
        except OSError:
            raise self._gone() from None
        header = process.stdout.readline()
        if not header:
            raise self._gone()
        return _read_object(header.rstrip(b"\n"), process.stdout, most)

    def _gone(self) -> GitError:
        self._process.wait()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip() or "ended"
        return GitError("git-fails", f"git cat-file: {text}")


def _read_object(header: bytes, answer: IO[bytes], most: int) -> GitObject:
    if header.endswith((b" missing", b" ambiguous", b" submodule")):
        return GitObject("missing")
    *_, kind, size = header.split(b" ")
    data = answer.read(min(int(size), most))
    rest = int(size) + 1 - len(data)  # and a line break
    while rest > 0 and (skipped := answer.read(min(rest, CHUNK))):
        rest -= len(skipped)
    return GitObject(kind.decode(), data)


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # git ended before it read everything
                pipe.close()
    process.wait()
    errors.close()


def _environment(index: Path | None = None) -> dict[str, str]:
    variables = {key: value for key, value in os.environ.items() if key not in ELSEWHERE} | PLAINLY
    return variables if index is None else variables | {"GIT_INDEX_FILE": os.fspath(index)}


def _failure(answer: Answer, folder: Path, arguments: tuple[str, ...]) -> GitError:
    if match := DUBIOUS.search(answer.err):
        path = match[1] or match[2]
        return GitError(
            "untrusted-repository",
            f"git does not trust {path}, because it belongs to another user; if you trust it: "
            f"{line('git', 'config', '--global', '--add', 'safe.directory', path)}",
        )
    if "not a git repository" in answer.err:
        text = f"{folder.resolve()} is not in a git repository: run samattn in a clone"
        return GitError("no-repository", text)
    if "must be run in a work tree" in answer.err:
        text = f"{folder.resolve()} is in a bare repository or in .git: run samattn in a work tree"
        return GitError("no-work-tree", text)
    text = answer.err.removeprefix("fatal: ") or f"exit code {answer.code}"
    return GitError("git-fails", f"git {arguments[0]}: {text}")
