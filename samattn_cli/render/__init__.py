"""Reports to text: data in, text out, nothing computed. One file a format in `formats`, and in `pages` one a kind of report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from .options import Options

Renderer = Callable[[Any, Options], str | bytes]

TEXTS = {"terminal": ".txt", "json": ".json", "csv": ".csv", "markdown": ".md"}
"""Format to the extension of its files; the module of each has its name."""

LATEX = {"latex": ".tex"}
"""Likewise of explanations."""

PICTURES = {"svg": ".svg", "png": ".png", "html": ".html"}
"""Likewise of kinds of report that have a `chart`."""

TABLES = {"parquet": ".parquet"}
"""Likewise of kinds of report that have `rows`, besides CSV."""

CHECKS = {"junit": ".xml", "sarif": ".sarif", "gitlab": "", "github": ""}
"""Likewise of checks; "": no extension says it, so that `-o` must name it."""

ALIASES = {"text": "terminal", "md": "markdown"}
"""Other names of formats."""

HOMES = {name: f"..gate.formats.{name}" for name in CHECKS} | {"check": "..gate.formats.page"}
"""The modules that are not here."""

FORMATS = TEXTS | CHECKS | LATEX | PICTURES | TABLES


@dataclass(frozen=True)
class Extra:
    """What a format needs that samattn does without: the extra's name, the module that it brings, who needs it."""

    name: str
    module: str
    whose: str


EXTRAS = dict.fromkeys(PICTURES, Extra("charts", "vl_convert", "pictures need")) | {
    "parquet": Extra("parquet", "pyarrow", "Parquet needs")
}


def render(report: Any, format_name: str, options: Options) -> str:
    """The report in a format of `TEXTS`, `LATEX` or `CHECKS`; each of its lines ends in a newline."""
    text = render_file(report, format_name, options)
    if isinstance(text, bytes):
        raise TypeError(f"{format_name} is no text")
    return text


def render_file(report: Any, format_name: str, options: Options) -> str | bytes:
    """The report in a format of `FORMATS`, as its file has it."""
    renderer: Renderer = import_module(HOMES.get(format_name, f".formats.{format_name}"), __name__).render
    return renderer(report, options)


def kind_of(report: Any) -> ModuleType:
    """How a kind of report is laid out.

    ``page(report, options)`` is a `Page`, ``rows(report)`` flat dictionaries, ``chart(report)`` a Vega-Lite spec.
    """
    return import_module(HOMES.get(report.kind, f".pages.{report.kind}"), __name__)
