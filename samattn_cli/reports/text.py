"""Reports as JSON text, and back."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from .analysis import Analysis, Verification
from .placements import Placements

if TYPE_CHECKING:  # what it stands on is slow to import
    from .sweep import Sweep

COLUMN = re.compile(r'"\\u0000(\d+)"')
HEAD = ("schema_version", "kind", "samattn_version")


def to_json(report: Any) -> str:
    """The report as JSON text, `schema_version` and `kind` first."""
    if not is_dataclass(report) or isinstance(report, type):
        raise TypeError(f"to_json takes a report, not {report!r}")
    data = _entries(report)
    ordered = {key: data[key] for key in (*HEAD, *(key for key in data if key not in HEAD))}
    columns: list[Any] = []

    def default(value: Any) -> Any:
        return _entries(value) if is_dataclass(value) else _placed(value, columns)

    text = json.dumps(ordered, indent=2, allow_nan=False, default=default)
    return COLUMN.sub(lambda found: _column(columns[int(found[1])]), text) + "\n"


def _entries(data: Any) -> dict[str, Any]:
    return {field.name: getattr(data, field.name) for field in fields(data)}


def _placed(array: Any, columns: list[Any]) -> str:
    """What stands for an array until it is put in its place: JSON's text of a million numbers is one line."""
    columns.append(array)
    return f"\0{len(columns) - 1}"


def _column(array: Any) -> str:
    """An array as a list; what is not a number is null."""
    values = array.tolist()
    return json.dumps([None if value != value else value for value in values], allow_nan=False)  # noqa: PLR0124


def from_json(text: str) -> Analysis | Verification | Placements | Sweep:
    """The report that `to_json` wrote.

    Raises:
        pydantic.ValidationError: for text that is no such report.
    """
    from pydantic import TypeAdapter

    from .sweep import Sweep

    adapter: TypeAdapter[Analysis | Verification | Placements | Sweep] = TypeAdapter(
        Analysis | Verification | Placements | Sweep
    )
    return adapter.validate_json(text)
