"""Reports as JSON text, and back."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any
from uuid import uuid4

from ..encoder.applicable_keys import mapping_of
from ..encoder.model import EncoderConfig
from ..errors import did_you_mean
from .finite import finite_json

HEAD = ("schema_version", "kind", "samattn_version")

KINDS = {
    "analysis": ".analysis.Analysis",
    "check": "..gate.reports.check.CheckReport",
    "diff": ".diff.Diff",
    "explanation": ".explanation.Explanation",
    "fit": ".fit.Fit",
    "judgement": ".judgement.Judgement",
    "oom": ".oom.Oom",
    "metrics": ".metrics.Metrics",
    "plan": ".plan.Plan",
    "placements": ".placements.Placements",
    "published_memory": ".published_memory.PublishedMemory",
    "sweep": ".sweep.Sweep",
    "verification": ".verification.Verification",
}
"""The class of each kind of report, by its path from here; it is imported when it is first needed."""

TRACED, TRACED_REPORT = "traced", ".traced.TracedAnalysis"
"""An analysis of a traced module: its kind is "analysis", and its `source` is "traced"."""

FILES = {"baseline": "..gate.reports.baseline", "recording": ".recording"}
"""The modules of the kinds that commands keep in files, and check more strictly: each has a `from_json` of its own."""
THE_TEXT = "the text"
"""What messages call the text."""


def to_json(report: Any) -> str:
    """The report as JSON text, `schema_version` and `kind` first.

    A config has the keys that apply to it; in a recording it has all keys, as its hash is of all.
    """
    if not is_dataclass(report) or isinstance(report, type):
        raise TypeError(f"to_json takes a report, not {report!r}")
    data = _entries(report)
    ordered = {key: data[key] for key in dict.fromkeys((*HEAD, *data)) if key in data}
    columns: list[Any] = []
    mark = uuid4().hex  # that no name in a config can be

    def default(value: Any) -> Any:
        if isinstance(value, EncoderConfig):
            return _entries(value) if data["kind"] == "recording" else mapping_of(value)
        if is_dataclass(value):
            return _entries(value)
        columns.append(value)
        return f"{mark} {len(columns) - 1}"

    text = json.dumps(ordered, indent=2, allow_nan=False, default=default)
    if columns:
        text = re.sub(rf'"{mark} (\d+)"', lambda found: _column(columns[int(found[1])]), text)
    return text + "\n"


def _entries(data: Any) -> dict[str, Any]:
    return {field.name: getattr(data, field.name) for field in fields(data)}


def _column(array: Any) -> str:
    """An array as a list, which is one line whatever its length; what is not a number is null."""
    values = array.tolist()
    return json.dumps([None if value != value else value for value in values], allow_nan=False)  # noqa: PLR0124


def from_json(text: str) -> Any:
    """The report that `to_json` wrote, a recording, or the figures of a baseline by key.

    Raises:
        ValueError: for text that is not JSON, that holds a number which is not finite (NaN, 1e999), that is not of a kind
            that samattn writes, or that is damaged (pydantic.ValidationError).
        RecordingError: for a damaged recording.
        ConfigError: for a damaged baseline.
    """
    kind = _kind_of(text)
    if kind in FILES:
        return import_module(FILES[kind], __package__).from_json(text, THE_TEXT)
    from pydantic import TypeAdapter

    if json.loads(text).get("source") == "traced":
        kind = TRACED
    module, _, name = KINDS.get(kind, TRACED_REPORT).rpartition(".")
    return TypeAdapter(getattr(import_module(module, __package__), name)).validate_json(text)


def _kind_of(text: str) -> str:
    try:
        data = finite_json(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{THE_TEXT} is not JSON: {error}") from None
    kind = data.get("kind") if isinstance(data, dict) else None
    known = sorted((*KINDS, *FILES))
    if not isinstance(kind, str) or kind not in known:
        problem = "has no kind" if kind is None else f"is of kind {kind!r}, which samattn does not write"
        hint = isinstance(kind, str) and did_you_mean(kind, known)
        raise ValueError(f"{THE_TEXT} {problem}" + (hint or f"; known are {', '.join(known)}"))
    return kind
