"""`samattn schema`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .output import emit, guarded


@guarded
def schema(
    thresholds: Annotated[
        bool, typer.Option("--thresholds", help="The schema of thresholds files, for `samattn check`.")
    ] = False,
) -> None:
    """Print the JSON Schema of config files, for editors.

    To use it, begin a config with this line: # yaml-language-server: $schema=./schema.json

    Examples:

      samattn schema > schema.json

      samattn schema --thresholds > thresholds.json

      samattn schema --family my_family.py > schema.json
    """
    from ..encoder.outside import add_installed
    from ..errors import ConfigError
    from ..files.schema import config_schema
    from ..gate.schema import thresholds_schema

    if problems := add_installed():
        raise ConfigError(problems)
    emit(json.dumps(thresholds_schema() if thresholds else config_schema(), indent=2) + "\n", "json")
