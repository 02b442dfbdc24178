"""What a table was measured with: the commits, the machine, and whether the packages are those that the commit pins."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

from tests.benchmarks.same_reports import ROOT


def heading(commit: str, before: Path) -> list[str]:
    """Lines above the table."""
    core = _core()
    return [
        f"Today is {commit}, now is {_described()}; {time.strftime('%Y-%m-%d')}.",
        f"Python {platform.python_version()}, {os.cpu_count()} cores{f' ({core})' if core else ''}, load {os.getloadavg()[0]:.1f} at the start.",
        _packages(before),
    ]


def _described() -> str:
    words = ["git", "describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _core() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text("utf-8")) if cpuinfo.exists() else None
    return found[1] if found else ""


def _packages(before: Path) -> str:
    others = differing((before / ".ci" / "constraints.txt").read_text("utf-8"))
    if not others:
        return "Both run with the packages that the commit pins."
    return f"Both run with packages that are not those that the commit pins: {', '.join(others)}."


def differing(constraints: str) -> list[str]:
    """The pins of a constraints file of which this environment has another version, each with that version.

    What is not installed is not needed: a command of the commit that needs it would fail, and with it the row.
    """
    lines = (line.partition("#")[0].strip() for line in constraints.splitlines())
    pins = [Requirement(line) for line in lines if line]
    asked = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    found = {pin: _installed(pin.name) for pin in asked}
    return [f"{pin} (here {has})" for pin, has in found.items() if has and has not in pin.specifier]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
