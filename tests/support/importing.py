"""What the tests of `samattn import` have in common."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from samattn_cli import load_config
from tests.support.implementations import implementation_of


def as_json(entries: dict[str, Any], path: Path) -> Path:
    path.write_text(json.dumps(entries, default=str), "utf-8")
    return path


def is_preset(
    text: str, preset: str, folder: Path, attention: str = "", *, library: str = "transformers"
) -> bool:
    """Whether the YAML is the preset, but for name and description.

    `attention` is run.attention of a model of a library, whose implementation it has then, if samattn has it.
    """
    (folder / "imported.yaml").write_text(text, "utf-8")
    wanted, found = load_config(preset), load_config(folder / "imported.yaml")
    run = replace(wanted.run, attention=attention or wanted.run.attention)
    own = implementation_of(preset, library) if attention else wanted.implementation
    named = replace(found, name=wanted.name, description=wanted.description)
    return named == replace(wanted, run=run, implementation=own)
