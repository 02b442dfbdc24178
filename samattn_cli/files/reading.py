"""Reads files that others name. It refuses anything that is not a file, because reading it might never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from time import monotonic, sleep

OF_DEVICES = ("/dev/", "/proc/")
"""A device is read if it is named itself (/dev/stdin, /dev/fd/63), but not through a link in some folder."""

WRITER_S = 1.0
"""How long to wait for a writer of a pipe, in seconds."""

NO_WRITER = "it is a pipe that nothing writes to"
BROKEN_LINK = "it is a broken symbolic link"


def read_file(path: Path, most: int) -> bytes:
    """The first `most` bytes of a file, or of a pipe that a program writes to.

    Raises:
        OSError: if the file cannot be read, for a pipe that nothing writes to, and for a link to a device.
        ValueError: for a path with a NUL in it.
    """
    kind = _mode_of(path)
    if stat.S_ISFIFO(kind):
        return _piped(path, most)
    if stat.S_ISSOCK(kind) or (stat.S_ISCHR(kind) and not str(path).startswith(OF_DEVICES)):
        raise not_a_file(kind)
    with path.open("rb") as file:
        return file.read(most)


def read_regular_file(path: Path, most: int) -> bytes:
    """The first `most` bytes of a file on the disk.

    Raises:
        OSError: if the file cannot be read, and for a pipe, a device or a socket.
        ValueError: for a path with a NUL in it.
    """
    kind = _mode_of(path)
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise not_a_file(kind)
    with path.open("rb") as file:
        return file.read(most)


def _mode_of(path: Path) -> int:
    """The mode of the file at a path.

    Raises:
        OSError: if it cannot be read, and for a broken symbolic link: the link exists, so the file is not just missing.
    """
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise OSError(errno.EINVAL, BROKEN_LINK) from None
        raise


def not_a_file(kind: int) -> OSError:
    """The error for a path whose mode is not that of a file."""
    word = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}.get(stat.S_IFMT(kind), "device")
    return OSError(errno.EINVAL, f"it is a {word}, not a file")


def _piped(path: Path, most: int) -> bytes:
    """What is written to a pipe. It is opened without blocking, because that would never end without a writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        start = _first_bytes(descriptor)
        os.set_blocking(descriptor, True)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return start + file.read(max(0, most - len(start)))
    finally:
        os.close(descriptor)


def _first_bytes(descriptor: int) -> bytes:
    """The first bytes in a pipe; b"" if a program has the pipe open and has not written yet.

    Raises:
        OSError: if no program has it open.
    """
    until = monotonic() + WRITER_S
    while monotonic() < until:
        try:
            if start := os.read(descriptor, 1 << 16):
                return start
        except BlockingIOError:
            return b""
        sleep(WRITER_S / 100)
    raise OSError(errno.EINVAL, NO_WRITER)
