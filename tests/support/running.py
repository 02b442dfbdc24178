"""Runs the command line as a user does, in a process of its own."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.forking import PATIENCE_S

ROOT = Path(__file__).parent.parent.parent
SAMATTN = [sys.executable, "-m", "samattn_cli"]
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))

READ_LATE = {"NO_COLOR", "FORCE_COLOR", "TERM", "CUDA_VISIBLE_DEVICES"}
"""Variables that are read when a page is printed or CUDA starts."""

QUIET = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM", "SAMATTN_DEBUG", "SAMATTN_FAMILY", "GITHUB_ACTIONS"}


def environment(**variables: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in QUIET} | variables


def samattn(
    *arguments: str,
    cwd: Path | None = None,
    stdin: str | None = None,
    columns: int = 80,
    headroom: int = 0,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run a command; variables of the environment that are not `READ_LATE` are read by an interpreter that starts with them.

    With headroom, the command may map only so many bytes of memory.
    """
    env = environment(COLUMNS=str(columns), **variables)
    if variables.keys() <= READ_LATE:
        return _forked(arguments, cwd, stdin, env, headroom)
    return _started(arguments, cwd, stdin, env)


def _started(
    arguments: tuple[str, ...], cwd: Path | None, stdin: str | None, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SAMATTN, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=env,
        timeout=PATIENCE_S,
        check=False,
    )


def _forked(
    arguments: tuple[str, ...], cwd: Path | None, stdin: str | None, env: dict[str, str], headroom: int
) -> subprocess.CompletedProcess[str]:
    server = _server()
    with TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("in", "out", "err")]
        streams[0].write_text(stdin or "", "utf-8")
        request = {
            "arguments": arguments,
            "cwd": str(cwd or Path.cwd()),
            "environment": env,
            "headroom": headroom,
        }
        server.stdin.write(json.dumps(request | {"streams": list(map(str, streams))}) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        out, err = (stream.read_text("utf-8") for stream in streams[1:])
    return subprocess.CompletedProcess(arguments, code, out, err)


@cache
def _server() -> subprocess.Popen[str]:
    """The process that forks for each command: see forking.py."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.forking"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(COLUMNS="80"),
    )
    atexit.register(server.wait)
    atexit.register(server.stdin.close)
    return server
