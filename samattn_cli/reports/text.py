"""Reports as JSON text, and back."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from typing import Any

from .analysis import Analysis, Verification
from .placements import Placements

HEAD = ("schema_version", "kind", "samattn_version")


def to_json(report: Any) -> str:
    """The report as JSON text, `schema_version` and `kind` first."""
    if not is_dataclass(report) or isinstance(report, type):
        raise TypeError(f"to_json takes a report, not {report!r}")
    data = asdict(report)
    ordered = {key: data[key] for key in (*HEAD, *(key for key in data if key not in HEAD))}
    return json.dumps(ordered, indent=2, allow_nan=False) + "\n"


def from_json(text: str) -> Analysis | Verification | Placements:
    """The report that `to_json` wrote.

    Raises:
        pydantic.ValidationError: for text that is no such report.
    """
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Analysis | Verification | Placements] = TypeAdapter(
        Analysis | Verification | Placements
    )
    return adapter.validate_json(text)
