"""A check as workflow commands of GitHub Actions, which annotate files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from ...render.options import Options
from ..reports.check import CheckReport, Outcome, Result
from .words import cleaned, counts, from_root, location, subject, whole_text, worst_first

LEVELS: dict[Outcome, str] = {"unchecked": "error", "error": "error", "warn": "warning"}
MOST = 10
"""The annotations of each level that GitHub keeps for one step."""

TITLE_CHARACTERS, MESSAGE_CHARACTERS = 255, 16_000
"""GitHub keeps 255 characters of a title, and 64 KB of a message; this many characters never exceed that."""


def render(report: CheckReport, options: Options) -> str:
    """A command on each line, worst first. Waived results, and those beyond GitHub's caps, share one notice."""
    return "".join(f"{command}\n" for command in _commands(cleaned(from_root(report, options.checkout))))


def _commands(report: CheckReport) -> Iterator[str]:
    annotated: defaultdict[str, int] = defaultdict(int)
    others = []
    for result in worst_first(report.results):
        level = LEVELS.get(report.weight(result))
        if level is not None and annotated[level] < MOST:
            annotated[level] += 1
            yield _annotation(level, result, report)
        elif result.outcome != "pass":
            others.append(result)
    if others:
        also = "also " if annotated else ""
        yield command(
            "notice", {"title": "samattn check"}, f"{also}{counts(others)}: see the summary or the log"
        )


def _annotation(level: str, result: Result, report: CheckReport) -> str:
    place = location(result, report)
    properties = {
        "file": place.file,
        "line": str(place.line),
        "col": str(place.column or ""),
        "title": _cut(subject(result), TITLE_CHARACTERS),
    }
    return command(level, properties, _cut(whole_text(result), MESSAGE_CHARACTERS))


def command(name: str, properties: Mapping[str, str], message: str) -> str:
    """A workflow command, escaped like actions/toolkit does it (packages/core/src/command.ts), without empty properties."""
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items() if value)
    return f"::{name}{' ' if listed else ''}{listed}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
