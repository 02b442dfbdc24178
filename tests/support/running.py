"""Runs the command line as a user does, in a process of its own."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

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
    told: Path | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run a command; variables of the environment that are not `READ_LATE` are read by an interpreter that starts with them.

    With headroom, the command may map only so many bytes of memory. With a file `told`, its calls are counted (see counting.py).
    """
    env = environment(COLUMNS=str(columns), **variables)
    if variables.keys() <= READ_LATE:
        return _forked(arguments, cwd, stdin, env, {"headroom": headroom, "told": str(told or "")})
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
    arguments: tuple[str, ...],
    cwd: Path | None,
    stdin: str | None,
    env: dict[str, str],
    options: dict[str, Any],
) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("in", "out", "err")]
        streams[0].write_text(stdin or "", "utf-8")
        request = {"arguments": arguments, "cwd": str(cwd or Path.cwd()), "environment": env, **options}
        with_torch = needs_torch(arguments, cwd or Path.cwd())
        code = _code_of(json.dumps(request | {"streams": list(map(str, streams))}), with_torch)
        out, err = (stream.read_text("utf-8") for stream in streams[1:])
    return subprocess.CompletedProcess(arguments, code, out, err)


WITH_TORCH = {"verify", "trace", "measure", "import", "--measure"}
"""Commands that import torch; `analyze` does so unless it is told not to, and `check` where a module is traced."""


def needs_torch(arguments: Sequence[str], cwd: Path) -> bool:
    """Whether a command will import torch. Where this is wrong, it is slower: it imports it itself, or forks with it for nothing."""
    if "analyze" in arguments:
        return "--no-verify" not in arguments
    if not {"check", "baseline"}.isdisjoint(arguments):
        files = [*cwd.glob("*.yaml"), *(cwd / word for word in arguments if word.endswith(".yaml"))]
        return any("trace:" in path.read_text("utf-8", "replace") for path in files if path.is_file())
    return not WITH_TORCH.isdisjoint(arguments)


def _code_of(request: str, with_torch: bool) -> int:
    """Its exit code. If the process that runs commands has died, or ended as this worker came, another one runs it."""
    try:
        return _server(with_torch).ask(request)
    except (OSError, EOFError):
        _server.cache_clear()
        return _server(with_torch).ask(request)


class Server:
    """A connection to the process that forks for each command: see forking.py."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise
        self.answers = self.socket.makefile(encoding="utf-8")

    def ask(self, request: str) -> int:
        """Have a command run; its exit code."""
        self.socket.sendall(f"{request}\n".encode())
        answer = self.answers.readline()
        if not answer:
            raise EOFError("the process that runs commands has ended")
        return int(answer)

    def close(self) -> None:
        """The process ends when no worker is connected."""
        self.answers.close()
        self.socket.close()


@cache
def _server(with_torch: bool) -> Server:
    """The process of all workers of this test run; the first that needs it starts it while the others wait."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
    path = f"{gettempdir()}/samattn-{run}{'-torch' if with_torch else ''}.sock"
    with Path(__file__).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            server = Server(path)
        except OSError:
            Path(path).unlink(missing_ok=True)
            _start(path, with_torch)
            server = Server(path)
    atexit.register(server.close)
    return server


def _start(path: str, with_torch: bool) -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.support.forking", path, *(["torch"] if with_torch else [])],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment(COLUMNS="80"),
    )
    with started.stdout as out:
        assert out.readline() == b"ready\n"
    atexit.register(started.poll)  # it outlives this worker as long as others are connected
