"""The encoder configs below a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ConfigError, Problem
from ...files.load import Override, load_config
from ...files.reading import read_regular_file
from ...files.yaml12 import MAX_BYTES

SUFFIXES = (".yaml", ".yml")
LOOKS_LIKE_ONE = re.compile(rb"^(extends|embed_dim|stages)\s*:", re.MULTILINE)
SKIPPED = frozenset({"node_modules", "__pycache__"})
VENV = "pyvenv.cfg"


@dataclass(frozen=True)
class Discovered:
    """Configs by their paths from the working directory, and why files that look like a config cannot be loaded."""

    configs: tuple[str, ...]
    refused: tuple[Problem, ...] = ()


def configs_below(folder: Path, overrides: Sequence[Override]) -> Discovered:
    """Every file below a folder that can be loaded as an encoder config. Hidden folders are skipped."""
    configs, refused = [], []
    for path in filter(_looks_like_one, _yaml_files(folder)):
        name = os.path.relpath(path)
        try:
            load_config(name, overrides)
        except ConfigError as error:
            refused.append(error.problems[0])
        else:
            configs.append(name)
    return Discovered(tuple(configs), tuple(refused))


def _yaml_files(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        if VENV in files:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED)
        yield from (Path(here, name) for name in sorted(files) if name.endswith(SUFFIXES))


def _looks_like_one(path: Path) -> bool:
    try:
        text = read_regular_file(path, MAX_BYTES + 1)
    except OSError:
        return False
    return len(text) <= MAX_BYTES and LOOKS_LIKE_ONE.search(text) is not None
