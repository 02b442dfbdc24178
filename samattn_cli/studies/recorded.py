"""The recordings that ship with samattn, and their cases of a config.

They are read as plain JSON, because validation would cost every `analyze` the import of pydantic. A test validates them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ..encoder.hash import config_hash
from ..encoder.model import EncoderConfig
from ..records import replace
from ..reports.analysis import Measured

Shape = tuple[Any, ...]
"""The image size and the widths of a config."""

CASES = b'"cases":['
"""The end of the first line of a recording that has a line for each case."""

FOLDER = Path(__file__).resolve().parent.parent / "recordings"


def measured(config: EncoderConfig, predicted: Callable[[], int]) -> tuple[Measured, ...]:
    """The shipped cases of `config` (its name makes no difference), compared with its predicted peak on a CPU, in bytes."""
    shape = config.image_size, *(stage.embed_dim for stage in config.stages)
    alike = _cases(shape)
    cases = alike.get(config_hash(config), ()) if alike else ()
    return tuple(
        case
        if case.peak_bytes is None or case.kind != "cpu"
        else replace(case, error=predicted() / case.peak_bytes - 1)
        for case in cases
    )


@cache
def _cases(shape: Shape) -> dict[str, list[Measured]]:
    """The cases of a shape by the hash of their config, which takes longer to work out."""
    cases: dict[str, list[Measured]] = {}
    for path in sorted(FOLDER.glob("*.json")):
        for case, recorded in _of(_read(path.read_bytes(), shape)):
            config = case["config"]
            if shape == (tuple(config["image_size"]), *(stage["embed_dim"] for stage in config["stages"])):
                cases.setdefault(case["config_hash"], []).append(recorded)
    return cases


def _read(text: bytes, shape: Shape) -> Any:
    """A recording. Of one with a line for each case, most cases of other shapes are left out: reading them takes time."""
    first, *lines = text.split(b"\n")
    if not first.endswith(CASES):
        return json.loads(text)
    size, *widths = shape
    marks = [f'"image_size":{json.dumps(size, separators=(",", ":"))}'.encode()]
    marks += [f'"embed_dim":{width}'.encode() for width in widths]
    found = [line.removesuffix(b",") for line in lines if all(mark in line for mark in marks)]
    return json.loads(first + b",".join(found) + b"]}")


def _of(recording: Any) -> Iterator[tuple[Any, Measured]]:
    """Each finished case and its figures: on a GPU with the error of the prediction that it was recorded with (a test says that it is still that one)."""
    made_by = recording["fingerprint"]
    if made_by.get("compiled"):
        return
    on = {key: made_by[key] for key in ("device", "kind", "torch")}
    for case in recording["cases"]:
        if case["status"] == "out of memory":
            yield case, Measured(**on, status="out of memory")
        elif case["status"] == "measured":
            figures, latency = case["measured"], case["measured"]["latency"]
            yield (
                case,
                Measured(
                    **on,
                    status="measured",
                    peak_bytes=figures["peak_allocated_bytes"],
                    error=case.get("error"),
                    latency_ms=latency and latency["median_ms"],
                    low_ms=latency and latency["low_ms"],
                    high_ms=latency and latency["high_ms"],
                ),
            )
