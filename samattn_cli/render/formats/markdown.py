"""A report as Markdown, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...records import replace
from ...reports.analysis import Analysis
from .. import layout_of
from ..crosscheck import layers_note, verdicts
from ..elements import Answer, Bars, Code, Equation, Finding, Math, Section, Table
from ..formulas import aligned, latex
from ..options import WIDE, Options


def render(report: Any, options: Options) -> str:
    """GitHub's Markdown: headings, tables and lists, or what the kind of report has of its own."""
    layout = layout_of(report)
    if layout.markdown:
        return layout.markdown(report)
    page = layout.page(report, replace(options, width=WIDE, full=not options.brief))
    lines = [f"# {_escape(page.title)}", "", *_short(page.short)]
    if options.brief:
        return "\n".join(lines[:-1]) + "\n"
    lines += [_escape(page.subtitle), ""]
    for section in page.sections:
        lines += _section(section)
    if isinstance(report, Analysis):
        lines += _crosscheck(report)
    return "\n".join(lines) + "\n"


def _short(answers: tuple[Answer, ...]) -> Iterator[str]:
    """The answer in short as a list, and an empty line if there is one."""
    for answer in answers:
        if answer.command:
            yield f"- `{answer.command}`"
        else:
            verdict = f"{answer.sign} **{answer.verdict}**" if answer.verdict else ""
            yield f"- {_escape(verdict + answer.text)}"
    yield from ("",) if answers else ()


def _section(section: Section) -> Iterator[str]:
    if isinstance(section, Finding):
        yield from (
            f"## {section.status}: {_escape(section.title)}",
            "",
            *map(_escape, section.sentences),
            "",
        )
        yield from (f"- {label}: {_escape(text)}" for label, text in section.facts)
        return
    yield from (f"## {section.title}", "")
    if isinstance(section, Table):
        rows = [row for row in section.rows if row is not None]
        yield from _table(section.headers, rows, section.text_columns)
        yield from (("", section.note) if section.note else ())
    elif isinstance(section, Bars):
        yield from _table(("part", "share", "FLOPs"), [(name, *figures) for name, _, figures in section.rows])
    elif isinstance(section, Code):
        yield from ("```text", *section.rows, "```")
    elif isinstance(section, Equation):
        yield from ("$$", *aligned(section), "$$")
    else:
        yield from (f"- {_escape(row)}" for row in section.rows)
    yield ""


def _crosscheck(report: Analysis) -> Iterator[str]:
    yield from ("## Cross-check against the real stack", "")
    if note := layers_note(report.crosscheck, report.config):
        yield from (note, "")
    for verdict in verdicts(report.crosscheck):
        yield f"- **{verdict.status}** {verdict.name}: {_escape(verdict.text)}"
        yield from (f"  - {_escape(difference)}" for difference in verdict.differences)


def _table(
    headers: tuple[str, ...], rows: list[tuple[str, ...]], text_columns: tuple[int, ...] = ()
) -> Iterator[str]:
    """The first column and those of text are left-aligned, figures right-aligned."""
    yield f"| {' | '.join(headers)} |"
    sides = (" :-- " if number in (0, *text_columns) else " --: " for number, _ in enumerate(headers))
    yield f"|{'|'.join(sides)}|"
    yield from (f"| {' | '.join(map(_cell, row))} |" for row in rows)


def _cell(text: str) -> str:
    return f"${latex(text)}$" if isinstance(text, Math) else _escape(text)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;").replace("_", "\\_").strip()
