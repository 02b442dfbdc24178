"""The page of a check: failures, worst first, each with its cause and place; results that pass as a number, or listed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from ...render.elements import BAD, CAUTION, GOOD, Answer, Finding, Page, Section, Table
from ...render.layout import Layout
from ...render.options import Options
from ...reports.diff import Place
from ..reports.check import CheckReport, Outcome, Result
from .comment import COMMENT_BYTES, comment
from .words import cleaned, facts, figures, scope, sentences, subject, tally, worst_first

IN_SHORT: dict[Outcome, tuple[str, str]] = {
    "unchecked": (BAD, "incomplete"),
    "error": (BAD, "breaks rules"),
    "warn": (CAUTION, "passes with warnings"),
    "waived": (GOOD, "passes with waivers"),
    "pass": (GOOD, "passes"),
}
"""The sign and words of each verdict."""


def page(report: CheckReport, options: Options) -> Page:
    """The verdict; results that fail; those that pass, if the user asked for them. A log ends with the verdict, too."""
    report = cleaned(report)
    title = f"samattn check: {report.thresholds}"
    return Page(title, scope(report), tuple(_sections(report, options)), (_in_short(report),))


def _in_short(report: CheckReport) -> Answer:
    sign, words = IN_SHORT[report.verdict]
    return Answer(f": {tally(report)}", sign, words)


def markdown(report: CheckReport) -> str:
    """A comment on a pull request."""
    return comment(report, COMMENT_BYTES)


def _sections(report: CheckReport, options: Options) -> Iterator[Section]:
    ordered = worst_first(report.results)
    for result in ordered:
        if result.outcome != "pass":
            yield Finding(result.outcome, subject(result), sentences(result), tuple(facts(result)))
    passed = [result for result in ordered if result.outcome == "pass"]
    if passed and (options.all_layers or options.full):
        yield _passed(passed, options)
    if not options.full:
        yield Finding(report.verdict, tally(report))


def _passed(results: list[Result], options: Options) -> Table:
    headers = ("rule", "config", *(("profile", "metric") if options.wide else ()), "value", "limit")
    rows = tuple(_row(result, options) for result in results)
    return Table("Passed", headers, rows, text_columns=tuple(range(len(headers) - 2)))


def _row(result: Result, options: Options) -> tuple[str, ...]:
    known = figures(result)
    more = (result.profile, result.metric) if options.wide else ()
    return (
        result.rule,
        result.config,
        *more,
        known.get("value", ""),
        known.get("limit", ""),
    )


def rows(report: CheckReport) -> Iterator[dict[str, Any]]:
    """A row for each result, in the order of rules and configs; places as file:line:column, causes a line each."""
    for result in cleaned(report).results:
        yield {field.name: _cell(getattr(result, field.name)) for field in fields(result)}


def _cell(value: Any) -> Any:
    if isinstance(value, Place):
        return str(value)
    return "\n".join(value) if isinstance(value, tuple) else value


LAYOUT = Layout(page, rows, markdown=markdown)
