"""The JSON Schema of a config file, made from the model: what an editor completes and checks."""

from __future__ import annotations

from typing import Any

from .model import EncoderConfig, StageConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """The schema of a file: the model's keys, those of a single stage at the top level, and ``extends``."""
    schema = EncoderConfig.model_json_schema()
    stage = schema["$defs"]["StageConfig"]
    required, stage_required = schema.pop("required"), stage["required"]
    extends = {"type": "string", "description": "A preset, or a path relative to this file, to start from."}
    schema["properties"] = {"extends": extends, **schema["properties"], **stage["properties"]}
    schema["dependentSchemas"] = {
        "stages": {"properties": dict.fromkeys(StageConfig.model_fields, False)},
    }
    flat = [key for key in required if key != "stages"] + stage_required
    schema["anyOf"] = [{"required": ["extends"]}, {"required": required}, {"required": flat}]
    return {"$schema": DIALECT, **schema, "title": "samattn encoder config"}
