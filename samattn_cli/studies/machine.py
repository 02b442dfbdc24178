"""How much memory this machine has left, for cases that are run on its CPU."""

from __future__ import annotations

import os
import re
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Memory that could be taken now without swapping, a container's limit included; None where nothing tells."""
    known = [size for size in (_of_the_machine(), _of_the_container()) if size is not None]
    return min(known, default=None)


def _of_the_machine() -> int | None:
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", MEMINFO.read_text("utf-8"))
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _of_the_container() -> int | None:
    try:
        most, used = ((CGROUP / name).read_text("utf-8") for name in ("memory.max", "memory.current"))
        return int(most) - int(used)
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return None
