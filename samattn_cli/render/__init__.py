"""Reports to text and pictures: data in, text out; nothing is computed here.

`formats/` has the formats, `pages/` lays out each kind of report, `charts/` draws. Formats and kinds of report are
listed below as functions, which import what they need when they are first called. The gate adds its own: see `register`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ..records import dataclass
from .options import Options

if TYPE_CHECKING:
    from .layout import Layout

Renderer = Callable[[Any, Options], str | bytes]
Writer = Callable[[Any, Options, BinaryIO], None]


class Format(NamedTuple):
    """A format of reports.

    Attributes:
        extension: of its files; "" if `-o` must name the format.
        render: what renders a report.
        write: what writes the same into a file, a part at a time.
    """

    extension: str
    render: Renderer
    write: Writer | None = None


def _terminal(report: Any, options: Options) -> str:
    from .formats.terminal import render

    return render(report, options)


def _json(report: Any, options: Options) -> str:
    from .formats.data import to_json

    return to_json(report, options)


def _csv(report: Any, options: Options) -> str:
    from .formats.data import to_csv

    return to_csv(report, options)


def _write_csv(report: Any, options: Options, file: BinaryIO) -> None:
    from .formats.data import write_csv

    write_csv(report, options, file)


def _write_parquet(report: Any, options: Options, file: BinaryIO) -> None:
    from .formats.parquet import write

    write(report, options, file)


def _parquet(report: Any, options: Options) -> bytes:
    from .formats.parquet import render

    return render(report, options)


def _markdown(report: Any, options: Options) -> str:
    from .formats.markdown import render

    return render(report, options)


def _latex(report: Any, options: Options) -> str:
    from .formats.latex import render

    return render(report, options)


def _trace(report: Any, options: Options) -> str:
    from .formats.chrome_trace import render

    return render(report, options)


def _svg(report: Any, options: Options) -> str:
    from .formats.pictures import to_svg

    return to_svg(report, options)


def _png(report: Any, options: Options) -> bytes:
    from .formats.pictures import to_png

    return to_png(report, options)


def _pdf(report: Any, options: Options) -> bytes:
    from .formats.pictures import to_pdf

    return to_pdf(report, options)


def _html(report: Any, options: Options) -> str:
    from .web.document import render

    return render(report, options)


TEXTS = {
    "terminal": Format(".txt", _terminal),
    "json": Format(".json", _json),
    "csv": Format(".csv", _csv, _write_csv),
    "markdown": Format(".md", _markdown),
}
"""The formats that every kind of report has."""

LATEX = {"latex": Format(".tex", _latex)}
"""The format of explanations."""

PICTURES = {"svg": Format(".svg", _svg), "png": Format(".png", _png), "pdf": Format(".pdf", _pdf)}
"""The formats of kinds of report that have a chart."""

PAGES = {"html": Format(".html", _html)}
"""The page for a browser, which every kind of report has as a file."""

TABLES = {"parquet": Format(".parquet", _parquet, _write_parquet)}
"""The format, next to CSV, of kinds of report that have rows."""

TRACES = {"trace": Format("", _trace)}
"""The format of analyses with the time of each operation."""

FORMATS: dict[str, Format] = TRACES | TEXTS | LATEX | PICTURES | PAGES | TABLES
"""Every format by its name."""

ALIASES = {"text": "terminal", "md": "markdown"}
"""Other names of formats."""


@dataclass(frozen=True)
class Extra:
    """An extra that a format needs: its name, the module that it installs, and the start of the message."""

    name: str
    module: str
    whose: str


EXTRAS = dict.fromkeys(PICTURES, Extra("charts", "vl_convert", "pictures need")) | {
    "parquet": Extra("parquet", "pyarrow", "Parquet needs")
}


def _analysis() -> Layout:
    from .pages.analysis import LAYOUT

    return LAYOUT


def _diff() -> Layout:
    from .pages.diff import LAYOUT

    return LAYOUT


def _explanation() -> Layout:
    from .pages.explanation import LAYOUT

    return LAYOUT


def _fit() -> Layout:
    from .pages.fit import LAYOUT

    return LAYOUT


def _judgement() -> Layout:
    from .pages.judgement import LAYOUT

    return LAYOUT


def _metrics() -> Layout:
    from .pages.metrics import LAYOUT

    return LAYOUT


def _oom() -> Layout:
    from .pages.oom import LAYOUT

    return LAYOUT


def _placements() -> Layout:
    from .pages.placements import LAYOUT

    return LAYOUT


def _plan() -> Layout:
    from .pages.plan import LAYOUT

    return LAYOUT


def _published_memory() -> Layout:
    from .pages.published_memory import LAYOUT

    return LAYOUT


def _sweep() -> Layout:
    from .pages.sweep import LAYOUT

    return LAYOUT


def _traced() -> Layout:
    from .pages.traced import LAYOUT

    return LAYOUT


def _verification() -> Layout:
    from .pages.verification import LAYOUT

    return LAYOUT


LAYOUTS: dict[str, Callable[[], Layout]] = {
    "analysis": _analysis,
    "diff": _diff,
    "explanation": _explanation,
    "fit": _fit,
    "judgement": _judgement,
    "metrics": _metrics,
    "oom": _oom,
    "placements": _placements,
    "plan": _plan,
    "published_memory": _published_memory,
    "sweep": _sweep,
    "traced": _traced,
    "verification": _verification,
}
"""How each kind of report is laid out."""


def register(formats: Mapping[str, Format], layouts: Mapping[str, Callable[[], Layout]]) -> None:
    """Add formats by their names, and layouts by the kinds of their reports: of a package that this one cannot import."""
    FORMATS.update(formats)
    LAYOUTS.update(layouts)


def render(report: Any, format_name: str, options: Options) -> str:
    """The report in a format that is text; each of its lines ends in a newline.

    Raises:
        TypeError: if the format is not text.
    """
    text = render_file(report, format_name, options)
    if isinstance(text, bytes):
        raise TypeError(f"{format_name} is not text")
    return text


def render_file(report: Any, format_name: str, options: Options) -> str | bytes:
    """The report in a format of `FORMATS`, as its file has it."""
    return FORMATS[format_name].render(report, options)


def content_of_file(
    report: Any, format_name: str, options: Options
) -> str | bytes | Callable[[BinaryIO], None]:
    """The same; of a format that writes a part at a time, a function that writes it into a file."""
    write = FORMATS[format_name].write
    if write is None:
        return render_file(report, format_name, options)
    return lambda file: write(report, options, file)


def layout_of(report: Any) -> Layout:
    """How a report of its kind is laid out; an analysis of a traced module has a layout of its own."""
    return LAYOUTS[getattr(report, "source", report.kind)]()
