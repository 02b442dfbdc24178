"""The pages of documentation as tests read them: blocks of commands with what they print, links, code in fences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from samattn_cli.guide import PAGES
from tests.support.running import ROOT

LEFT_OUT = "..."
"""A line of a shown output that stands for lines that are left out."""

PATHS = tuple(page.path for page in PAGES.values())
CONSOLE = re.compile(r"console(?: exit=(\d))?")


@dataclass(frozen=True)
class Block:
    """Commands of a page in one fence; of one alone, what it prints.

    Attributes:
        page: the path of the page, from the root of the repository.
        exit_code: of each command.
        body: the text of the fence.
    """

    page: str
    exit_code: int
    body: str

    @property
    def commands(self) -> tuple[str, ...]:
        """Each without its prompt."""
        return tuple(line[2:] for line in self.body.splitlines() if line.startswith("$ "))

    @property
    def shows_output(self) -> bool:
        """Whether what is printed is shown, whole or in part."""
        return len(self.commands) == 1 and ">" not in self.commands[0]


def text_of(path: str) -> str:
    """The Markdown of a page."""
    return (ROOT / path).read_text("utf-8")


def tokens(path: str) -> list[Token]:
    """A page, parsed as a forge does."""
    return _parsed(text_of(path))


@cache
def _parsed(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


@cache
def _fences(path: str) -> list[Token]:
    """The fences of a page. Nothing in lines and tables is parsed, as tests are collected by what is shown in fences."""
    parser = MarkdownIt("commonmark").disable("inline")
    return [token for token in parser.parse(text_of(path)) if token.type == "fence"]


def fences(path: str, language: str) -> Iterator[str]:
    """The code of a page in a language."""
    yield from (token.content for token in _fences(path) if token.info == language)


def shown_files(path: str) -> Iterator[tuple[str, str]]:
    """The files that a page shows whole, as "```python examples/api.py": the name and the code of each."""
    for token in _fences(path):
        language, _, name = token.info.partition(" ")
        if name and language != "console":
            yield name, token.content


def blocks() -> Iterator[Block]:
    """All commands of all pages that are run."""
    for path in PATHS:
        for token in _fences(path):
            if found := CONSOLE.fullmatch(token.info):
                yield Block(path, int(found[1] or 0), token.content)


def links(path: str) -> Iterator[str]:
    """Where the links and pictures of a page lead."""
    for token in tokens(path):
        for inner in token.children or ():
            target = inner.attrGet("href") or inner.attrGet("src")
            if target:
                yield str(target)


def anchors(path: str) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    parsed = tokens(path)
    return {
        anchor(parsed[number + 1].content)
        for number, token in enumerate(parsed)
        if token.type == "heading_open"
    }


def anchor(heading: str) -> str:
    """GitHub's anchor of a heading: small letters, spaces as dashes, no punctuation."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def refreshed(body: str, printed: str) -> str:
    """A block's body with what is printed now; of a shown part, as many lines from its first line on.

    Raises:
        AssertionError: if the first line of a part is not printed after the part before.
    """
    command, *shown = body.splitlines()
    if LEFT_OUT not in shown:
        return f"{command}\n{printed}"
    lines, now, at = printed.splitlines(), [command], 0
    for number, part in enumerate(_parts(shown)):
        now += [LEFT_OUT] if number else []
        if part:
            assert part[0] in lines[at:], f"{command!r} no longer prints the line {part[0]!r} here"
            start = lines.index(part[0], at)
            at = start + len(part)
            now += lines[start:at]
    return "\n".join(now) + "\n"


def _parts(lines: list[str]) -> Iterator[list[str]]:
    """The lines between those that stand for others."""
    part: list[str] = []
    for line in lines:
        if line == LEFT_OUT:
            yield part
            part = []
        else:
            part.append(line)
    yield part


def replace(path: Path, before: str, after: str) -> None:
    """Write other text in place of some that a file has once."""
    text = path.read_text("utf-8")
    assert text.count(before) == 1, f"{path}: {before[:60]!r}"
    path.write_text(text.replace(before, after), "utf-8")
