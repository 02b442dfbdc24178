"""The recordings that ship with samattn, and their cases of a config.

They are read as plain JSON, because validation would cost every `analyze` the import of pydantic. A test validates them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ..encoder.hash import config_hash
from ..encoder.model import EncoderConfig
from ..reports.analysis import Measured

FOLDER = Path(__file__).resolve().parent.parent / "recordings"


def measured(config: EncoderConfig, predicted_bytes: int) -> tuple[Measured, ...]:
    """The shipped cases of `config` (its name makes no difference), compared with its predicted peak."""
    cases = _cases().get(config_hash(config), ())
    return tuple(
        case if case.peak_bytes is None else replace(case, error=predicted_bytes / case.peak_bytes - 1)
        for case in cases
    )


@cache
def _cases() -> dict[str, list[Measured]]:
    cases: dict[str, list[Measured]] = {}
    for path in sorted(FOLDER.glob("*.json")):
        recording = json.loads(path.read_text("utf-8"))
        for key, recorded in _of(recording):
            cases.setdefault(key, []).append(recorded)
    return cases


def _of(recording: Any) -> Iterator[tuple[str, Measured]]:
    """Each finished case by the hash of its config; its peak without the cuBLAS workspace."""
    made_by = recording["fingerprint"]
    if made_by.get("compiled"):
        return
    on = {key: made_by[key] for key in ("device", "kind", "torch")}
    for case in recording["cases"]:
        if case["status"] == "out of memory":
            yield case["config_hash"], Measured(**on, status="out of memory")
        elif case["status"] == "measured":
            figures, latency = case["measured"], case["measured"]["latency"]
            yield (
                case["config_hash"],
                Measured(
                    **on,
                    status="measured",
                    peak_bytes=figures["peak_allocated_bytes"] - figures["workspace_bytes"],
                    latency_ms=latency and latency["median_ms"],
                    low_ms=latency and latency["low_ms"],
                    high_ms=latency and latency["high_ms"],
                ),
            )
