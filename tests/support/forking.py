"""A process that has imported samattn and torch, and forks for each command: `python -m tests.support.forking`.

Each command runs in a process of its own, with its own streams, environment and working directory, but nobody waits for
imports again: they are four fifths of what a short command takes. Requests and answers are lines of JSON.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from pkgutil import walk_packages
from typing import Any

PATIENCE_S = 1800
"""After this long a process hangs. It limits no speed: on a loaded machine a command takes minutes."""


def serve() -> None:
    """Answer requests on standard input until it ends."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    _import_all()
    gc.freeze()
    for line in requests:
        pid = os.fork()
        if not pid:
            _become(json.loads(line))
        _, status = os.waitpid(pid, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")


def _import_all() -> None:
    import samattn_cli  # noqa: PLC0415 - in this process alone

    has_timm = find_spec("timm") is not None
    for module in walk_packages(samattn_cli.__path__, "samattn_cli."):
        if not module.name.endswith("__main__") and (has_timm or not module.name.endswith(".timm_stack")):
            import_module(module.name)
    for name in ("fvcore.nn", "torch.fx.experimental.symbolic_shapes"):  # what a cross-check imports last
        import_module(name)


def _become(request: dict[str, Any]) -> None:
    """Run a command in this process, which never comes back."""
    signal.alarm(PATIENCE_S)
    for number, path in enumerate(request["streams"]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(request["environment"])
    if request["cwd"]:
        os.chdir(request["cwd"])
    sys.argv = ["samattn", *request["arguments"]]
    from samattn_cli.cli import run  # noqa: PLC0415

    try:
        run()
    except BaseException:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    serve()
