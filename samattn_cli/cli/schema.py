"""`samattn schema`."""

from __future__ import annotations

import json

from .output import emit, guarded


@guarded
def schema() -> None:
    """Print the JSON Schema of config files, for editors.

    Presets name it in their first line: # yaml-language-server: $schema=./schema.json

    Example:

      samattn schema > schema.json
    """
    from ..config.schema import config_schema

    emit(json.dumps(config_schema(), indent=2) + "\n")
