"""Runs the command line as a user does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SAMATTN = [sys.executable, "-m", "samattn_cli"]
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))

PATIENCE_S = 1800
"""After this long a process hangs. It limits no speed: on a loaded machine a command takes minutes."""

QUIET = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM", "SAMATTN_DEBUG", "GITHUB_ACTIONS"}


def environment(**variables: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in QUIET} | variables


def samattn(
    *arguments: str, cwd: Path | None = None, stdin: str | None = None, columns: int = 80, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SAMATTN, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment(COLUMNS=str(columns), **variables),
        timeout=PATIENCE_S,
        check=False,
    )
