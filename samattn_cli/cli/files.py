"""Files that are written whole or not at all: a temporary file in the same folder, then a rename."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ModuleNotFoundError:  # on Windows, where we do not lock
    fcntl = None  # type: ignore[assignment]

OF_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
FOLDERS_OF_STREAMS = ("/dev/fd/", "/proc/self/fd/")


def stream_of(path: Path) -> int | None:
    """The file descriptor that a path such as /dev/stdout names; None if it names a file."""
    name = str(path)
    if name in OF_STREAMS:
        return OF_STREAMS[name]
    number = next((name[len(folder) :] for folder in FOLDERS_OF_STREAMS if name.startswith(folder)), "")
    return int(number) if number.isascii() and number.isdecimal() else None


def is_written_into(path: Path) -> bool:
    """Whether a path is a stream, a pipe or a device, which must be written into and cannot be replaced."""
    if stream_of(path) is not None:
        return True
    with suppress(OSError):
        return not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode)
    return False


def write_into(path: Path, content: bytes) -> None:
    """Write bytes into a stream, a pipe or a device.

    Raises:
        OSError: if that fails, and for a pipe without a reader, where writing would block.
    """
    number = stream_of(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK) if number is None else os.dup(number)
    with os.fdopen(descriptor, "wb") as file:
        if number is None:
            os.set_blocking(descriptor, True)
        file.write(content)


Content = bytes | Callable[[BinaryIO], object]
"""Bytes, or a function that writes them into a file."""


def replace_file(path: Path, content: Content) -> None:
    """Replace the file at a path, or create it."""
    temporary = staged_file(path, content)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


@contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """Hold a lock, so that one process at a time reads, changes and writes a path's file.

    The lock is on the folder: it leaves no lock file, and ends with the process that holds it. On a file system without
    locks, nothing is locked.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            descriptor = os.open(path.resolve().parent, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def staged_file(path: Path, content: Content) -> Path:
    """Write a temporary file in the folder of a path, ready to replace it."""
    import tempfile  # not at start-up: most commands write no file

    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
        temporary.chmod(_mode(path))
    except BaseException:
        temporary.unlink()
        raise
    return temporary


def _mode(path: Path) -> int:
    """The permissions of the existing file, or those of a new one."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
