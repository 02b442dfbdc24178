"""What a report is laid out from: tables, bars and lines of text, which each format shows in its way."""

from __future__ import annotations

from ..records import dataclass


class Math(str):
    """A formula in Python's notation, in a cell: each format writes it in its own way."""

    __slots__ = ()


@dataclass(frozen=True)
class Table:
    """Rows of text under headers; `text_columns` are left-aligned, the others figures. A None row is a rule.

    Each character of `strip_columns` is a cell of a picture.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...] | None, ...]
    note: str = ""
    text_columns: tuple[int, ...] = (0,)
    strip_columns: tuple[int, ...] = ()


@dataclass(frozen=True)
class Bars:
    """Shares of 1: label, share, and the figures next to it."""

    title: str
    rows: tuple[tuple[str, float, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Lines:
    """Sentences, a bullet each."""

    title: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Lines to be copied, which no format wraps."""

    title: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Equation:
    """What a figure equals: a formula, one with numbers, and the number, as it is shown."""

    title: str
    left: str
    formulas: tuple[Math, ...]
    value: str


@dataclass(frozen=True)
class Finding:
    """A finding: its status ("error"), a title, sentences, and labelled texts, a line each.

    Texts under `UNBROKEN` are to be clicked on or copied, so no format wraps them.
    """

    status: str
    title: str
    sentences: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


UNBROKEN = ("at", "rule", "more")

Section = Table | Bars | Lines | Code | Equation | Finding


GOOD, BAD, CAUTION = "✓", "✗", "!"
"""The signs of verdicts, which are readable without colour."""


@dataclass(frozen=True)
class Answer:
    """A line of the answer in short: a sign (or ""), the words of the verdict, and the rest of the sentence.

    A `command` is to be copied, so no format wraps it.
    """

    text: str
    sign: str = ""
    verdict: str = ""
    command: str = ""


@dataclass(frozen=True)
class Page:
    """A report laid out: a title, the answer in short, a subtitle, and sections."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    short: tuple[Answer, ...] = ()
