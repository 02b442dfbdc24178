"""A check as a comment on a pull request, or the summary of a CI step: GitHub's Markdown, within its limits.

Names are in code spans and code blocks, in which GitHub interprets nothing: no HTML, link, @mention or #reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from urllib.parse import quote

from ..reports.check import CheckReport, Outcome, Result
from .words import beyond, cleaned, facts, figures, not_passed, scope, sentences, subject, tally

COMMENT_BYTES = 65_536
"""GitHub's limit of a comment in characters. As a limit of bytes it is safe however they are counted."""

LEFT_OUT_BYTES = 200
"""Room for the sentence about results that are not shown."""

MARKS: dict[Outcome, str] = {
    "unchecked": "❓ unchecked",
    "error": "❌ error",
    "warn": "⚠️ warning",
    "waived": "🔕 waived",
    "pass": "✅",
}
HEADERS = ("", "rule", "config", "value", "limit", "beyond it")
ADDRESS = re.compile(r"(https?://[A-Za-z0-9\-._~:/?#%&=+]+)")
SPECIAL = {ord(mark): f"\\{mark}" for mark in "\\`*_[]~|$"} | {
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord("&"): "&amp;",
    ord("@"): "@&#8203;",
    ord("#"): "#&#8203;",
    ord("\n"): "<br>",
}
"""Characters that Markdown or HTML interprets. A zero-width space keeps GitHub from making mentions and references."""

BLOCK = re.compile(r"[-+=]|:(?=:)|\d+(?=[.)](?:\s|$))")
"""The starts of a paragraph that make it a list, a rule, a heading, or in a log of GitHub Actions a workflow command."""


def comment(report: CheckReport, most_bytes: int) -> str:
    """A hidden marker, the verdict, a table of the results that did not pass, and the details of each, folded.

    The marker is the same for the same thresholds file, so that a bot finds its own comment. If not everything fits, details
    are left out first, and then rows of the table, from the end.
    """
    report = cleaned(report)
    results = not_passed(report)
    head = "".join(f"{line}\n" for line in _head(report))
    room = most_bytes - len(head.encode()) - LEFT_OUT_BYTES
    rows, room = _fitting((_row(result, report) for result in results), room)
    details, room = _fitting(map(_details, results), room)
    parts = [head, *([_table_head(), *rows, "\n"] if rows else []), *details]
    if left := len(results) - len(rows):
        parts.append(f"\n{left} more {'is' if left == 1 else 'are'} not shown.\n")
    elif left := len(results) - len(details):
        parts.append(f"\nThe details of {left} more are not shown.\n")
    return "".join(parts)


def _head(report: CheckReport) -> Iterator[str]:
    yield f"<!-- samattn check: {quote(report.thresholds, safe='/ ')} -->"
    yield f"### {_icon(report.verdict)} samattn check: {tally(report)}"
    yield ""
    yield f"{_code(report.thresholds)}: {prose(scope(report))}"
    yield ""


def _fitting(parts: Iterable[str], room: int) -> tuple[list[str], int]:
    """The first parts that fit into `room` bytes, and the remaining room."""
    kept = []
    for part in parts:
        size = len(part.encode())
        if size > room:
            break
        room -= size
        kept.append(part)
    return kept, room


def _table_head() -> str:
    return f"| {' | '.join(HEADERS)} |\n|{' :-- |' * 3}{' --: |' * 3}\n"


def _row(result: Result, report: CheckReport) -> str:
    known = figures(result)
    on = " ".join(filter(None, [_code(result.config), _code(result.profile)]))
    amounts = (prose(known.get("value", "")), prose(known.get("limit", "")), prose(beyond(result)))
    return f"| {' | '.join((_mark(result, report), _code(result.rule), on, *amounts))} |\n"


def _icon(outcome: Outcome) -> str:
    return MARKS[outcome].split()[0]


def _mark(result: Result, report: CheckReport) -> str:
    """The icon of the outcome that a result counts as, and the word for its own outcome."""
    return " ".join([_icon(report.weight(result)), *MARKS[result.outcome].split()[1:]])


def _details(result: Result) -> str:
    text = "\n\n".join(map(prose, sentences(result)))
    listed = "\n".join(f"{label:<8} {text}" for label, text in facts(result))
    block = (
        f"```text\n{listed}\n```\n\n" if listed else ""
    )  # no line can end the block, because each begins with a label
    title = f"{result.outcome}: <code>{escape(subject(result))}</code>"
    return f"<details><summary>{title}</summary>\n\n{text}\n\n{block}</details>\n\n"


def prose(text: str) -> str:
    """Text in which Markdown interprets nothing, except that URLs become links."""
    parts = ADDRESS.split(text.strip())
    escaped = "".join(f"<{part}>" if odd % 2 else part.translate(SPECIAL) for odd, part in enumerate(parts))
    if not (start := BLOCK.match(escaped)):
        return escaped
    return f"{start[0]}\\{escaped[start.end() :]}" if start[0].isdigit() else f"\\{escaped}"


def _code(name: str) -> str:
    """A name as code: a code span, or, if a character would end the span or a cell of a table, with character references."""
    if name and not set(name) & set("`|\\"):
        return f"`{name}`"
    referred = "".join(c if c.isalnum() else f"&#{ord(c)};" for c in name)
    return f"<code>{referred}</code>" if name else ""
