"""A process that has imported samattn, and forks for each command: `python -m tests.support.forking SOCKET [torch]`.

Each command runs in a process of its own, with its own streams, environment and working directory, but nobody waits for
imports again: they are four fifths of what a short command takes. With torch, the process is four times as large, and each fork takes
that much longer: commands that need torch have a process that has imported it, and the others one that has not. All workers of a test run connect to the same process, which
ends when the last of them has gone. Requests and answers are lines of JSON: a worker waits for an answer before it asks again.
A process that measures or traces for a command is a fork too, if no variables are set for it.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages
from tempfile import TemporaryFile
from typing import Any, NoReturn, TextIO, cast

from tests.support.counting import count_calls

PATIENCE_S = 1800
"""After this long a process hangs. It limits no speed: on a loaded machine a command takes minutes."""


LONELY_S = 60
"""After this long without a worker the process ends."""


def serve(path: str, *, with_torch: bool) -> None:
    """Answer the requests of workers at a socket until no worker is left."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    _import_all(with_torch=with_torch)
    _fork_children()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)  # noqa: T201 - the worker that started this process reads it
        os.dup2(nothing, 1)
        try:
            _Server(listener).run()
        finally:
            Path(path).unlink(missing_ok=True)


class _Server:
    """The workers that are connected, and the processes that run a command for one of them."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.running: dict[int, socket.socket] = {}
        self.ended, wakes = socket.socketpair()
        wakes.setblocking(False)
        self.ended.setblocking(False)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        self.wakes = wakes  # open as long as this
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ)
        self.selector.register(self.ended, selectors.EVENT_READ)
        self.workers: dict[socket.socket, TextIO] = {}

    def run(self) -> None:
        """Until no worker is left."""
        while ready := self.selector.select(None if self.workers else LONELY_S):
            for key, _ in ready:
                if key.fileobj is self.listener:
                    self._connect()
                elif key.fileobj is self.ended:
                    self._answer()
                elif not self._ask(cast("socket.socket", key.fileobj)):
                    return

    def _connect(self) -> None:
        worker, _ = self.listener.accept()
        self.workers[worker] = worker.makefile(encoding="utf-8")
        self.selector.register(worker, selectors.EVENT_READ)

    def _ask(self, worker: socket.socket) -> bool:
        """Start a command for a worker; without one, the worker has gone. Whether a worker is left."""
        line = self.workers[worker].readline()
        if not line:
            self.selector.unregister(worker)
            del self.workers[worker]
            worker.close()
            return bool(self.workers)
        pid = os.fork()
        if not pid:
            self._leave()
            _become(json.loads(line))
        self.running[pid] = worker
        return True

    def _leave(self) -> None:
        """In a fork: nothing here is its own."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.selector.close()
        for each in (self.listener, self.ended, self.wakes, *self.workers.values(), *self.workers):
            each.close()

    def _answer(self) -> None:
        """Tell the workers whose commands have ended."""
        self.ended.recv(4096)
        for pid in list(self.running):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                worker = self.running.pop(pid)
                if worker in self.workers:
                    worker.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _import_all(*, with_torch: bool) -> None:
    import samattn_cli  # noqa: PLC0415 - in this process alone

    has_timm = find_spec("timm") is not None
    for module in walk_packages(samattn_cli.__path__, "samattn_cli."):
        name = module.name
        needs_torch = "stack" in name or name.endswith(".traced.child")
        if name.endswith("__main__") or (needs_torch and not with_torch):
            continue
        if has_timm or not name.endswith(".timm_stack"):
            import_module(name)
    for name in (*IMPORTED_LATE, *(IMPORTED_LAST if with_torch else ())):
        import_module(name)
    assert with_torch or "torch" not in sys.modules


IMPORTED_LATE = "pydantic.dataclasses", "pydantic.json_schema", "typer.rich_utils"
"""What commands import only where they need it."""

IMPORTED_LAST = "fvcore.nn", "torch.fx.experimental.symbolic_shapes"
"""What a cross-check imports last."""


def _fork_children() -> None:
    from samattn_cli.studies import child  # noqa: PLC0415 - in this process alone
    from samattn_cli.studies.traced import ask  # noqa: PLC0415

    start = child.run_child

    def run_child(
        request: Any, variables: Any = None, module: str = child.MEASURING
    ) -> subprocess.CompletedProcess[str]:
        return start(request, variables, module) if variables else _forked_child(request, module)

    child.run_child = ask.run_child = run_child


def _forked_child(request: dict[str, Any], module: str) -> subprocess.CompletedProcess[str]:
    """As `run_child`, without a new interpreter."""
    end, requests = os.pipe()
    with TemporaryFile() as out, TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            for number, source in enumerate((end, out.fileno(), err.fileno())):
                os.dup2(source, number)
            os.close(requests)
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - main drops it, and watches the stream
            _call(import_module(module).main, 0)
        os.write(requests, f"{json.dumps(request)}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(requests)
        os.close(end)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
    return subprocess.CompletedProcess([], code, *texts)


def _become(request: dict[str, Any]) -> None:
    """Run a command in this process, which never comes back."""
    signal.alarm(PATIENCE_S)
    for number, path in enumerate(request["streams"]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(request["environment"])
    if request["cwd"]:
        os.chdir(request["cwd"])
    if request["headroom"]:
        _limit_memory(request["headroom"])
    sys.argv = ["samattn", *request["arguments"]]
    from samattn_cli.cli import run  # noqa: PLC0415

    _call(partial(count_calls, run, request["told"]) if request["told"] else run, 1)


def _limit_memory(headroom: int) -> None:
    """Let this process, and what it forks, map so many bytes more than it does now."""
    mapped = int(Path("/proc/self/statm").read_text("utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + headroom, mapped + headroom))


def _call(function: Callable[[], object], code: int) -> NoReturn:
    """Call a function and end with a code; with 1 after an exception, as the interpreter does."""
    try:
        function()
    except BaseException:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        code = 1
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1], with_torch=sys.argv[2:] == ["torch"])
