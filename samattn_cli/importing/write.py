"""A config as the YAML that a person would write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .given import Keys

WIDTH = 110


def yaml_of(keys: Keys, comments: list[str]) -> str:
    """The text of a config file: comments, then a key a line; stages and what is in them stand indented."""
    return "\n".join((*(f"# {comment}" for comment in comments), *_lines(keys, 0), ""))


def _lines(keys: Keys, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for key, value in keys.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{key}:"
            for item in value:
                first, *rest = _lines(item, depth + 2)
                yield f"{indent}  - {first.lstrip()}"
                yield from rest
        elif isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _lines(value, depth + 1)
        else:
            yield f"{indent}{key}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_scalar, value))}]"
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    import yaml

    return yaml.safe_dump(text, width=WIDTH * 10).partition("\n")[0]
