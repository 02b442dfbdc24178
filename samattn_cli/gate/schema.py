"""The JSON Schema of a thresholds file, made from its model. Editors complete and validate files with it."""

from __future__ import annotations

from typing import Any

from ..encoder.schemas import class_schema
from ..files.schema import DIALECT
from .thresholds import Thresholds


def thresholds_schema() -> dict[str, Any]:
    """The schema of a thresholds file."""
    from pydantic.json_schema import GenerateJsonSchema  # slow to import; see `keys`

    schema = GenerateJsonSchema().generate(class_schema(Thresholds))
    _close(schema)
    return {"$schema": DIALECT, **schema, "title": "samattn thresholds file"}


def _close(schema: Any) -> None:
    """Forbid unknown keys."""
    for part in schema if isinstance(schema, list) else schema.values() if isinstance(schema, dict) else ():
        _close(part)
    if isinstance(schema, dict) and isinstance(schema.get("properties"), dict):
        schema["additionalProperties"] = False
