"""Writes what was measured on a device: the section of a device file alone, or the whole file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import yaml

from ..errors import ConfigError, UsageError
from ..files.sources import Source
from ..records import replace
from .load import device_of
from .model import Calibrations

SECTION = "calibrated"


def calibrated_yaml(measured: Calibrations) -> str:
    """The section of a device file with what was measured."""
    kept = _without_none(asdict(measured))
    return yaml.safe_dump({SECTION: kept}, sort_keys=False, allow_unicode=True)


def with_calibrated(source: Source, measured: Calibrations) -> str:
    """The text of a device file with what was measured, in place of the old section or at the end; the rest is unchanged.

    Raises:
        UsageError: if the section cannot be put into the text.
        ConfigError: if it is not a device file.
    """
    device, text = device_of(source), source.text
    start, end = _place(text)
    gap = "" if not text[:start] or text[:start].endswith("\n") else "\n"
    written = f"{text[:start]}{gap}{calibrated_yaml(measured)}{text[end:]}"
    try:
        is_right = device_of(replace(source, text=written)) == replace(device, calibrated=measured)
    except ConfigError:
        is_right = False
    if not is_right:
        raise UsageError(
            "cannot-insert-section",
            f"{source.label}: cannot insert a '{SECTION}:' section: write each key of the file on a line of its own",
        )
    return written


def _place(text: str) -> tuple[int, int]:
    """The start and end of the section in the text, as whole lines; the end of the text if there is none."""
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, value in root.value:
        if key.value == SECTION:
            newline = text.find("\n", max(_last(value), key.end_mark.index) - 1)
            return key.start_mark.index, len(text) if newline < 0 else newline + 1
    return len(text), len(text)


def _last(node: Any) -> int:
    """The end of the last word of a node; a comment after a block belongs to the next key."""
    is_block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    if not is_block or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _last(last[-1] if isinstance(last, tuple) else last)


def _without_none(measured: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: _without_none(value) if isinstance(value, dict) else value for name, value in measured.items()
    }
    return {name: value for name, value in kept.items() if value not in (None, {})}
