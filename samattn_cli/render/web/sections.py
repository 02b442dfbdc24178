"""The elements of a page in HTML: each a section under a heading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from ..elements import (
    BAD,
    CAUTION,
    GOOD,
    UNBROKEN,
    Answer,
    Bars,
    Code,
    Equation,
    Finding,
    Lines,
    Section,
    Table,
)
from .tables import table_of
from .words import Names, escaped, figure

SIGNS = {GOOD: "good", BAD: "bad", CAUTION: "caution"}
"""The class of each sign: its colour is a help, and its sign and word say the same."""


def short(answers: Sequence[Answer]) -> Iterator[str]:
    """The answer in short, a line each."""
    yield '<ul class="short">'
    for answer in answers:
        if answer.command:
            yield f"<li>{code([answer.command])}</li>"
        else:
            yield f"<li>{_verdict(answer)}{escaped(answer.text)}</li>"
    yield "</ul>"


def _verdict(answer: Answer) -> str:
    if not answer.sign:
        return ""
    words = f"{answer.sign} {answer.verdict}".strip()
    return f'<strong class="{SIGNS[answer.sign]}">{escaped(words)}</strong>{"" if answer.verdict else " "}'


def section(part: Section, names: Names) -> Iterator[str]:
    """A section; its heading can be linked to."""
    heading = part.title or ("Finding" if isinstance(part, Finding) else "Table")
    name = names(heading)
    status = f'<span class="status {part.status}">{part.status}</span> ' if isinstance(part, Finding) else ""
    yield from wrapped(heading, name, content(part, name), status)


def wrapped(heading: str, name: str, inside: Iterable[str], status: str = "") -> Iterator[str]:
    """A section with a heading called `name`, and a place next to it for buttons."""
    yield f'<section aria-labelledby="{name}">'
    yield f'<div class="head"><h2 id="{name}">{status}{escaped(heading)}</h2></div>'
    yield from inside
    yield "</section>"


def content(part: Section, name: str) -> Iterator[str]:
    """What stands below the heading of a section; `name` is the name of the heading."""
    if isinstance(part, Table):
        yield from table_of(part, name)
    elif isinstance(part, Bars):
        yield from _bars(part, name)
    elif isinstance(part, Lines):
        yield f"<ul>{''.join(f'<li>{escaped(row)}</li>' for row in part.rows)}</ul>"
    elif isinstance(part, Code):
        yield code(part.rows)
    elif isinstance(part, Equation):
        yield from _equation(part)
    else:
        yield from _finding(part)


def code(rows: Sequence[str]) -> str:
    """Lines to be copied."""
    return f'<div class="code"><pre tabindex="0"><code>{escaped_lines(rows)}</code></pre></div>'


def escaped_lines(rows: Sequence[str]) -> str:
    """Lines of text, escaped; only the ends of lines are kept."""
    return "\n".join(escaped(line) for row in rows for line in row.split("\n"))


def _bars(bars: Bars, name: str) -> Iterator[str]:
    """A table whose first figures are drawn too."""
    yield f'<div class="scroll" role="region" aria-labelledby="{name}" tabindex="0"><table aria-labelledby="{name}">'
    yield '<thead><tr><th scope="col">part</th><th scope="col" class="n">share</th><th scope="col" class="n">of it</th>'
    yield '<td class="bar"></td></tr></thead><tbody>'
    for label, share, figures in bars.rows:
        cells = "".join(f'<td class="n">{figure(text)}</td>' for text in figures)
        drawn = f'<td class="bar" aria-hidden="true"><i style="width:{100 * min(max(share, 0), 1):.2f}%"></i></td>'
        yield f'<tr><th scope="row">{escaped(label)}</th>{cells}{drawn}</tr>'
    yield "</tbody></table></div>"


def _equation(equation: Equation) -> Iterator[str]:
    sides = [*map(escaped, equation.formulas), f"<strong>{figure(equation.value)}</strong>"]
    yield f'<p class="equation">{escaped(equation.left)} = {"<br>= ".join(sides)}</p>'


def _finding(finding: Finding) -> Iterator[str]:
    yield from (f"<p>{escaped(sentence)}</p>" for sentence in finding.sentences)
    if not finding.facts:
        return
    yield "<dl>"
    for label, facts in groupby(finding.facts, key=lambda fact: fact[0]):
        yield f"<dt>{escaped(label)}</dt>"
        tag = "code" if label in UNBROKEN else "span"
        yield from (f"<dd><{tag}>{escaped(text)}</{tag}></dd>" for _, text in facts)
    yield "</dl>"
