"""From a source to the YAML of a config: what kind of source it is, whose family knows it, and whether it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from ..config.load import load_config
from ..errors import ConfigError, ImportFailedError, did_you_mean
from . import families
from .checkpoint import PYTORCH, SAFETENSORS, shapes_of
from .given import Given, Keys
from .write import yaml_of

CONFIG = "config.json"
IN_FOLDER = (CONFIG, "model.safetensors", "pytorch_model.bin")
SCHEMA = "yaml-language-server: $schema=./schema.json"


def imported(source: str) -> str:
    """The YAML of the encoder that a source describes.

    Args:
        source: Hugging Face's config.json or its folder, a checkpoint, or the name of a timm model.

    Raises:
        ImportFailedError: if it is damaged, unknown, or says what samattn cannot express.
    """
    path = _file_of(Path(source))
    if path is None:
        keys, what = _from_timm(source), f"timm's {source}"
    elif path.suffix == ".json":
        keys, what = _from_hugging_face(path), f"{path} (Hugging Face)"
    else:
        keys, what = _from_checkpoint(path), f"the shapes of the weights in {path}"
    return yaml_of(_checked(keys, source), [f"Imported by `samattn import {source}` from {what}."])


def _file_of(path: Path) -> Path | None:
    """The file that a path means; None where nothing is there, and so a timm model may be meant."""
    if path.is_dir():
        found = next((path / name for name in IN_FOLDER if (path / name).is_file()), None)
        if found is None:
            raise ImportFailedError(f"{path}: holds none of {', '.join(IN_FOLDER)}")
        return found
    if path.is_file():
        if path.suffix not in {".json", SAFETENSORS, *PYTORCH}:
            known = ", ".join((".json", SAFETENSORS, *PYTORCH))
            raise ImportFailedError(f"{path}: what it is must be told by its extension, one of {known}")
        return path
    if len(path.parts) > 1 or path.suffix in {".json", SAFETENSORS, *PYTORCH}:
        raise ImportFailedError(f"{path}: there is no such file")
    return None


def _from_hugging_face(path: Path) -> Keys:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ImportFailedError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(entries, Mapping):
        raise ImportFailedError(f"{path}: is no description of a model, but a {type(entries).__name__}")
    known = {
        word: read for module in _families() for word, read in getattr(module, "HUGGING_FACE", {}).items()
    }
    word = str(entries.get("model_type"))
    if word not in known:
        hint = did_you_mean(word, known) or f": it knows {', '.join(sorted(known))}"
        raise ImportFailedError(f"{path}: model_type {word!r} is none that samattn can express{hint}")
    return dict(known[word](Given(str(path), entries)))


def _from_checkpoint(path: Path) -> Keys:
    shapes = shapes_of(path)
    for module in _families():
        for read in getattr(module, "CHECKPOINTS", ()):
            if (keys := read(shapes)) is not None:
                return dict(keys)
    names = ", ".join(list(shapes)[:3])
    raise ImportFailedError(f"{path}: its weights ({names}, ...) are of no model that samattn knows")


def _from_timm(name: str) -> Keys:
    if find_spec("timm") is None:
        raise ImportFailedError(
            f"{name}: there is no such file; if a timm model is meant, timm is not installed: pip install timm"
        )
    raise NotImplementedError


def _families() -> Iterator[ModuleType]:
    for module in sorted(found.name for found in iter_modules(families.__path__)):
        yield import_module(f"{families.__name__}.{module}")


def _checked(keys: Keys, source: str) -> dict[str, Any]:
    """The keys, if they make an encoder."""
    try:
        load_config(keys)
    except ConfigError as error:
        said = "; ".join(problem.message for problem in error.problems)
        raise ImportFailedError(
            f"{source}: describes an encoder that samattn cannot express: {said}"
        ) from None
    return keys
