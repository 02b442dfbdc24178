"""The process of one case: a request as JSON on standard input, an answer as JSON on standard output.

Each case has a process to itself, so that one case's allocator, or its crash, cannot touch another.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..config.load import load_config
from ..errors import DeviceError


def main() -> None:
    """Answer the request."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what torch's libraries print is no answer
    with answers:
        json.dump(answer(json.load(sys.stdin)), answers)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The fingerprint of a device, or the outcome of a case on it."""
    if "config" not in request:
        from .fingerprint import fingerprint

        try:
            return asdict(fingerprint(request["device"]))
        except DeviceError as error:
            return {"problem": str(error)}
    from .measure import outcome_of

    snapshot = Path(request["snapshot"]) if request.get("snapshot") else None
    return asdict(outcome_of(load_config(request["config"]), request["device"], snapshot, request["repeats"]))
