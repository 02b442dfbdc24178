"""Reports to text: data in, text out, nothing computed. One file a format."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from ..report import Analysis
from .options import Options

Renderer = Callable[[Analysis, Options], str]

FORMATS = {"terminal": ".txt", "json": ".json", "csv": ".csv", "markdown": ".md"}
"""Format to the extension of its files; the module of each has its name."""


def render(report: Analysis, format_name: str, options: Options) -> str:
    """The report in a format of `FORMATS`, ending in a newline."""
    renderer: Renderer = import_module(f"{__name__}.{format_name}").render
    return renderer(report, options)
