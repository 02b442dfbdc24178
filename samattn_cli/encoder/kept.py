"""Presets as they are kept: checked configs and their figures, so that a command on a preset reads no YAML.

`presets.tsv` has a line for each preset, which a test compares with the preset's file. A preset whose file, or a file that
it extends, is not the one that the line was made from is not taken from here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from .keys import Size
from .model import EncoderConfig, OverrideConfig, RunConfig, StageConfig
from .presets import presets

FILE = Path(__file__).with_name("presets.tsv")
CLASS = "class"
"""The key of an object in JSON that has the name of its class."""
CLASSES: dict[str, type] = {
    each.__name__: each for each in (EncoderConfig, OverrideConfig, RunConfig, StageConfig)
}


class Kept(NamedTuple):
    """A line of the file, its columns as text.

    Attributes:
        name: the preset.
        files: the names and check sums of its file and of those that it extends: "sam_vit_h.yaml:1234 ...".
        blocks: how many.
        params: parameters.
        flops: FLOPs of a forward.
        config: the config as JSON, without the values that are defaults.
    """

    name: str
    files: str
    blocks: str
    params: str
    flops: str
    config: str


def kept_presets() -> Iterator[Kept]:
    """The presets as they are kept, without those whose files have changed."""
    return filter(_is_fresh, (Kept(*line.split("\t")) for line in _text().splitlines()))


def kept_preset(name: str) -> Kept | None:
    """A preset as it is kept; None if it is not there or its file has changed."""
    _, found, after = f"\n{_text()}".partition(f"\n{name}\t")
    kept = Kept(name, *after.partition("\n")[0].split("\t")) if found else None
    return kept if kept is not None and _is_fresh(kept) else None


def config_of(kept: Kept) -> EncoderConfig:
    """The config of a preset as it is kept."""
    config: EncoderConfig = json.loads(kept.config, object_hook=_object)
    return config


def image_size_of(kept: Kept) -> Size:
    """The image size in pixels."""
    return tuple(json.loads(kept.config)["image_size"])


def description_of(kept: Kept) -> str:
    """What the preset is, in a line."""
    return str(json.loads(kept.config).get("description", ""))


def written(config: EncoderConfig) -> str:
    """A config as JSON, for a line of the file."""
    return json.dumps(_plain(config), separators=(",", ":"), ensure_ascii=False)


def check_sum(data: bytes) -> int:
    """The check sum of a file."""
    return crc32(data)


@cache
def _text() -> str:
    return FILE.read_text(encoding="utf-8") if FILE.exists() else ""


def _is_fresh(kept: Kept) -> bool:
    sums = (file.rpartition(":") for file in kept.files.split())
    return all(_sum_of(name) == int(sum_) for name, _, sum_ in sums)


def _sum_of(name: str) -> int | None:
    path = presets().get(name.removesuffix(".yaml"))
    return None if path is None else check_sum(path.read_bytes())


def _plain(value: Any) -> Any:
    """A value of a config as JSON has it; of an object only what is not a default."""
    if isinstance(value, tuple):
        return list(map(_plain, value))
    if not is_dataclass(value):
        return value
    own = ((field.name, getattr(value, field.name), field.default) for field in fields(value))
    return {CLASS: type(value).__name__} | {
        name: _plain(held) for name, held, default in own if held != default
    }


def _object(plain: dict[str, Any]) -> Any:
    values = {name: _tuples(value) for name, value in plain.items() if name != CLASS}
    return CLASSES[plain[CLASS]](**values)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
