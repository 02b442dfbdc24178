"""The process that measures one case: a request as a line of JSON on standard input, an answer as JSON on standard output.

Each case has its own process, so that its allocator, or a crash, cannot affect another case.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import Any

from ..encoder.outside import add_again
from ..errors import EXIT_ERROR, DeviceError, code_of
from ..files.load import load_config


def main() -> None:
    """Answer the request; end at once if the parent process ends."""
    request = json.loads(sys.stdin.readline())
    Thread(target=_end_with_input, daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of torch's libraries goes to standard error
    with answers:
        json.dump(answer(request), answers)
    if request.get("dry"):  # the end of a process over the dry device can abort while a backward thread lives
        os._exit(0)


def _end_with_input() -> None:
    """Wait for the end of standard input, which the parent process keeps open as long as it lives."""
    while os.read(0, 1):  # not sys.stdin, whose lock would be taken when this process ends
        pass
    os._exit(EXIT_ERROR)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The fingerprint of a device, or the outcome of a case on it."""
    if "config" not in request:
        from .fingerprint import fingerprint

        try:
            made_by = fingerprint(request["device"], dry=request["dry"], compiled=request["compiled"])
            return asdict(made_by)
        except DeviceError as error:
            return {"problem": str(error.message), "code": code_of(error.message)}
    from .measure import How, outcome_of

    for origin in request["families"]:
        add_again(tuple(origin))
    snapshot = Path(request["snapshot"]) if request.get("snapshot") else None
    how = How(snapshot, request["repeats"], not request["dry"], request["compiled"])
    return asdict(outcome_of(load_config(request["config"]), request["device"], how))
