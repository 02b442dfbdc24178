"""A check as a comment on a pull request, or the summary of a CI step: GitHub's Markdown, within its limits.

Names stand in code spans and code blocks, where nothing is obeyed: no HTML, no link, no @mention, no #reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from urllib.parse import quote

from ..reports.check import CheckReport, Outcome, Result
from .words import beyond, cleaned, facts, figures, not_passed, scope, sentences, subject, tally

COMMENT_BYTES = 65_536
"""The most characters of a comment on GitHub; as bytes it holds however they are counted."""

LEFT_OUT_BYTES = 200
"""Room for what is said of what is left out."""

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
"""What Markdown or HTML would obey; a space of no width keeps GitHub from making mentions of @ and references of #."""

BLOCK = re.compile(r"[-+=]|:(?=:)|\d+(?=[.)](?:\s|$))")
"""What makes the beginning of a paragraph a list, a rule, a heading, or in a log of GitHub Actions a workflow command."""


def comment(report: CheckReport, most_bytes: int) -> str:
    """A hidden marker, the verdict, what did not pass in a table, and of each the details, folded.

    The marker is the same for the same thresholds file: by it a bot finds its own comment again. Where all does not fit,
    details go first, then rows of the table, of the least bad.
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
    """The first parts that fit into `room` bytes, and the room that is left."""
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
    """The icon of what a result counts as, and the word for what it is."""
    return " ".join([_icon(report.weight(result)), *MARKS[result.outcome].split()[1:]])


def _details(result: Result) -> str:
    said = "\n\n".join(map(prose, sentences(result)))
    listed = "\n".join(f"{label:<8} {text}" for label, text in facts(result))
    block = f"```text\n{listed}\n```\n\n" if listed else ""  # no line can end it: a label begins each
    title = f"{result.outcome}: <code>{escape(subject(result))}</code>"
    return f"<details><summary>{title}</summary>\n\n{said}\n\n{block}</details>\n\n"


def prose(text: str) -> str:
    """Text that says what it says, whatever it holds; web addresses are links to themselves."""
    parts = ADDRESS.split(text.strip())
    said = "".join(f"<{part}>" if odd % 2 else part.translate(SPECIAL) for odd, part in enumerate(parts))
    if not (found := BLOCK.match(said)):
        return said
    return f"{found[0]}\\{said[found.end() :]}" if found[0].isdigit() else f"\\{said}"


def _code(name: str) -> str:
    """A name as code, also in a table: as a code span, or with what would end that, or a cell, as character references."""
    if name and not set(name) & set("`|\\"):
        return f"`{name}`"
    referred = "".join(c if c.isalnum() else f"&#{ord(c)};" for c in name)
    return f"<code>{referred}</code>" if name else ""
