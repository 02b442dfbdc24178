"""Files that are written whole or not at all: finished beside their place, then put there."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # on Windows, where no lock is taken
    fcntl = None  # type: ignore[assignment]

OF_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
FOLDERS_OF_STREAMS = ("/dev/fd/", "/proc/self/fd/")


def stream_of(path: Path) -> int | None:
    """The open stream that a path names, as /dev/stdout does; None if it names a file."""
    name = str(path)
    if name in OF_STREAMS:
        return OF_STREAMS[name]
    number = next((name[len(folder) :] for folder in FOLDERS_OF_STREAMS if name.startswith(folder)), "")
    return int(number) if number.isascii() and number.isdecimal() else None


def is_written_into(path: Path) -> bool:
    """Whether a path is a stream, a pipe or a device, which takes what is written and is not put in another's place."""
    if stream_of(path) is not None:
        return True
    with suppress(OSError):
        return not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode)
    return False


def write_into(path: Path, content: bytes) -> None:
    """Write all of it into a stream, a pipe or a device.

    Raises:
        OSError: if that fails, and for a pipe that nothing reads from, which would be waited for.
    """
    number = stream_of(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK) if number is None else os.dup(number)
    with os.fdopen(descriptor, "wb") as file:
        if number is None:
            os.set_blocking(descriptor, True)
        file.write(content)


def replace_file(path: Path, content: bytes) -> None:
    """Put a finished file in a path's place."""
    temporary = staged_file(path, content)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


@contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """While others that take the lock wait: a path's file is read, changed and written by one process at a time.

    The lock is of the folder, so that it leaves no file behind and ends with the process that has it. Where the file
    system has none, nothing is locked.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            descriptor = os.open(path.resolve().parent, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def staged_file(path: Path, content: bytes) -> Path:
    """A finished file beside a path, to be put in its place."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(_mode(path))
    except BaseException:
        temporary.unlink()
        raise
    return temporary


def _mode(path: Path) -> int:
    """The permissions of the file that is there, or of a new one."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
