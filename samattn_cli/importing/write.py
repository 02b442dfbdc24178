"""Writes a config as the YAML that a person would write."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from ..encoder.model import EncoderConfig, StageConfig
from .description import Keys

WIDTH = 110
ITEM_WIDTH = 130
"""Of a stage on one line: the stages below each other read like a table."""
SCHEMA = "yaml-language-server: $schema=./schema.json"

DEFAULTS = {field.name: field.default for model in (EncoderConfig, StageConfig) for field in fields(model)}
WRITTEN = (
    "mlp_ratio",
    "qkv_bias",
    "pos_embed",
    "pos_embed_background",
    "pos_embed_window",
    "out_chans",
    "adapter_ratio",
    "lora_rank",
)
"""Keys of an encoder that are written even at their default. In a stage they are left out."""


def tidy(keys: Keys) -> Keys:
    """The keys without those at their default, except those in `WRITTEN`."""
    return {key: _tidy(value) for key, value in keys.items() if key in WRITTEN or not _is_default(key, value)}


def _tidy(value: Any) -> Any:
    if not _is_stages(value):
        return value
    return [{key: entry for key, entry in stage.items() if not _is_default(key, entry)} for stage in value]


def _is_default(key: str, value: Any) -> bool:
    default = DEFAULTS.get(key)
    if isinstance(default, tuple):
        return bool(tuple(value) == default if isinstance(value, list) else (value, value) == default)
    return bool(value == default)


def yaml_of(keys: Keys, comments: list[str]) -> str:
    """The text of a config file: comments, then one key on each line; stages and mappings are indented."""
    printable = ("".join(sign if sign.isprintable() else "?" for sign in comment) for comment in comments)
    lines = [line for comment in printable for line in textwrap.wrap(comment, WIDTH)]
    return "\n".join((*(f"# {line}" for line in (SCHEMA, *lines)), *_lines(keys, 0), ""))


def _lines(keys: Keys, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for key, value in keys.items():
        if _is_stages(value):
            yield f"{indent}{key}:"
            for item in value:
                yield from _item(item, depth + 1)
        elif isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _lines(dict(value), depth + 1)
        else:
            yield f"{indent}{key}: {_flow(value)}"


def _item(item: Keys, depth: int) -> Iterator[str]:
    """An item of a list: on one line if it fits."""
    start = f"{'  ' * depth}- "
    if len(line := start + _flow(item)) <= ITEM_WIDTH:
        yield line
        return
    first, *rest = _lines(item, depth + 1)
    yield start + first.lstrip()
    yield from rest


def _is_stages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _flow(value: Any) -> str:
    """A value on one line, in YAML's flow style."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_flow(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
