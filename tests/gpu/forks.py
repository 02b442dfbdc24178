"""Runs jobs in forks of this process, some at a time: a fork has torch already, and starts CUDA for itself."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Job = Callable[[], Any]
SECONDS = 100
"""A job that takes longer is ended."""


@dataclass
class _Running:
    key: str
    pid: int
    begun: float
    text: bytes = b""


def forked(
    jobs: Iterable[tuple[str, Job]], at_once: int, seconds: float = SECONDS
) -> Iterator[dict[str, Any]]:
    """What each job answers, in the order in which they end, with its key and its seconds; or why it does not answer."""
    waiting, running = list(reversed(list(jobs))), dict[int, _Running]()
    while waiting or running:
        while waiting and len(running) < at_once:
            descriptor, started = _start(*waiting.pop())
            running[descriptor] = started
        ready, _, _ = select.select(list(running), [], [], 1.0)
        for descriptor in ready:
            if chunk := os.read(descriptor, 1 << 20):
                running[descriptor].text += chunk
            else:
                yield _ended(descriptor, running.pop(descriptor))
        for job in running.values():
            if time.monotonic() - job.begun > seconds:
                os.kill(job.pid, signal.SIGKILL)


def _start(key: str, job: Job) -> tuple[int, _Running]:
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        os.close(reading)
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            json.dump(_answer(job), pipe)
        os._exit(0)
    os.close(writing)
    return reading, _Running(key, pid, time.monotonic())


def _answer(job: Job) -> dict[str, Any]:
    try:
        return {"answer": job()}
    except BaseException as error:  # noqa: BLE001 - the recording says so
        last = traceback.extract_tb(error.__traceback__)[-1]
        return {"error": f"{type(error).__name__}: {str(error)[:400]} ({last.filename}:{last.lineno})"}


def _ended(descriptor: int, job: _Running) -> dict[str, Any]:
    os.close(descriptor)
    status = os.waitstatus_to_exitcode(os.waitpid(job.pid, 0)[1])
    told = {"key": job.key, "seconds": round(time.monotonic() - job.begun, 1)}
    try:
        return told | json.loads(job.text)
    except ValueError:
        return told | {"error": f"the process ended with {status}"}
