"""The memory that this machine has left, for cases that run on its CPU."""

from __future__ import annotations

import os
import re
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Memory available without swapping, within a container's limit; None if the system does not report it."""
    known = [size for size in (_of_the_machine(), _of_the_container()) if size is not None]
    return min(known, default=None)


def _of_the_machine() -> int | None:
    try:
        match = re.search(r"MemAvailable:\s+(\d+) kB", MEMINFO.read_text("utf-8"))
    except OSError:
        match = None
    if match:
        return int(match[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _of_the_container() -> int | None:
    try:
        most, used = ((CGROUP / name).read_text("utf-8") for name in ("memory.max", "memory.current"))
        return int(most) - int(used)
    except (OSError, ValueError):  # there is no container, or it has no limit ("max")
        return None
