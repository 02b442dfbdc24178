"""Reports to text: data in, text out, nothing computed. One file a format, and in `kinds` one a kind of report."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from .options import Options

Renderer = Callable[[Any, Options], str]

FORMATS = {"terminal": ".txt", "json": ".json", "csv": ".csv", "markdown": ".md"}
"""Format to the extension of its files; the module of each has its name."""


def render(report: Any, format_name: str, options: Options) -> str:
    """The report in a format of `FORMATS`, ending in a newline."""
    renderer: Renderer = import_module(f"{__name__}.{format_name}").render
    return renderer(report, options)


def kind_of(report: Any) -> ModuleType:
    """How a kind of report is laid out: ``page(report, options)`` as a `Page`, ``rows(report)`` as flat dictionaries."""
    return import_module(f"{__name__}.kinds.{report.kind}")
