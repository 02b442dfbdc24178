"""The recordings that ship with samattn, and which of their cases are of a config.

They are read as plain JSON: validating them would cost every `analyze` the import of pydantic. A test validates them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ..config.hash import config_hash
from ..config.model import EncoderConfig

FOLDER = Path(__file__).resolve().parent.parent / "recordings"


@dataclass(frozen=True)
class Recorded:
    """A finished case and what it was measured on; its peak without the cuBLAS workspace."""

    device: str
    kind: Literal["cuda", "cpu"]
    torch: str
    peak_bytes: int
    median_ms: float
    low_ms: float
    high_ms: float


def matching(config: EncoderConfig) -> tuple[Recorded, ...]:
    """The measured cases of the shipped recordings that are of `config`, whatever it is called."""
    return tuple(_cases().get(config_hash(config), ()))


@cache
def _cases() -> dict[str, list[Recorded]]:
    found: dict[str, list[Recorded]] = {}
    for path in sorted(FOLDER.glob("*.json")):
        recording = json.loads(path.read_text("utf-8"))
        for key, recorded in _of(recording):
            found.setdefault(key, []).append(recorded)
    return found


def _of(recording: Any) -> Iterator[tuple[str, Recorded]]:
    made_by = recording["fingerprint"]
    for case in recording["cases"]:
        if case["status"] == "measured":
            measured, latency = case["measured"], case["measured"]["latency"]
            peak = measured["peak_allocated_bytes"] - measured["workspace_bytes"]
            times = (latency[key] for key in ("median_ms", "low_ms", "high_ms"))
            yield (
                case["config_hash"],
                Recorded(made_by["device"], made_by["kind"], made_by["torch"], peak, *times),
            )
