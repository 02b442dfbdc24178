"""The JSON Schema of a config file, generated from the model, with which editors complete and check configs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ..encoder.model import EncoderConfig, StageConfig
from ..encoder.schemas import class_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """The schema of a config file: the keys of the model, those of a single stage at the top level, and ``extends``."""
    from pydantic.json_schema import GenerateJsonSchema  # slow to import; see `keys`

    schema = GenerateJsonSchema().generate(class_schema(EncoderConfig))
    stage = schema["properties"]["stages"]["items"]
    for part in (schema, stage, stage["properties"]["overrides"]["items"], schema["properties"]["run"]):
        part["additionalProperties"] = False
    extends = {"type": "string", "description": "A preset, or a path relative to this file, to start from."}
    schema["properties"] = {"extends": extends, **schema["properties"], **stage["properties"]}
    flat = [entry.name for entry in fields(StageConfig)]
    schema["dependentSchemas"] = {"stages": {"properties": dict.fromkeys(flat, False)}}
    required = schema.pop("required")
    in_one = [name for name in required if name != "stages"] + stage["required"]
    schema["anyOf"] = [{"required": ["extends"]}, {"required": required}, {"required": in_one}]
    return {"$schema": DIALECT, **schema, "title": "samattn encoder config"}
