"""A page of documentation for a terminal: Markdown by Rich, with code unchanged, so that it can be copied."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import Heading, Markdown, MarkdownElement, TableElement
from rich.table import Table
from rich.text import Text

from ..records import replace
from .formats.terminal import to_text
from .options import Options
from .shield import STYLE

WIDEST = 120
"""Columns of a page: longer lines of prose are hard to read."""

FENCE = re.compile(r"^```[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


class _Heading(Heading):
    """A heading at the left edge, as those of reports."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        self.text.justify = "left"
        if self.tag != "h1":
            yield Text()
        self.text.stylize("bold" if self.tag in {"h1", "h2"} else "cyan")
        yield self.text


class _Table(TableElement):
    """A table that wraps cells, so that no digit is lost."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            if isinstance(table, Table):
                for number, column in enumerate(table.columns):
                    is_of_names = not any(" " in str(cell) for cell in column.cells)
                    column.overflow, column.no_wrap = "fold", number == 0 and is_of_names
            yield table


class _Markdown(Markdown):
    """Markdown with these elements in place of Rich's."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "table_open": _Table,
    }


def render_guide(text: str, path: str, topics: Mapping[str, str], options: Options) -> str:
    """A page as text.

    Args:
        text: its Markdown.
        path: its file, from the root of the repository, from where its links are followed.
        topics: the topics of pages by their paths: a link to one of them is shown as the command that opens it.
        options: the width and the colour.
    """
    parts = list(_parts(COMMENT.sub("", text), path, topics))
    shown = to_text(parts, replace(options, width=min(options.width, WIDEST)))
    return "".join(_single_spaced(shown))


def _single_spaced(text: str) -> Iterator[str]:
    """The lines, with one blank line in place of several, which may be styled."""
    was_blank = True
    for line in text.splitlines(keepends=True):
        is_blank = not STYLE.sub("", line).strip()
        if not (is_blank and was_blank):
            yield "\n" if is_blank else line
        was_blank = is_blank


def _parts(text: str, path: str, topics: Mapping[str, str]) -> Iterator[Any]:
    """Prose and code in turn: Rich's own code blocks wrap lines, and colour their background."""
    for number, part in enumerate(FENCE.split(text)):
        if number % 2:
            yield Text(part, style="cyan", no_wrap=True)
        elif part.strip():
            prose = LINK.sub(lambda link: _shown(link, path, topics), part)
            yield _Markdown(prose, hyperlinks=False)
            yield Text()


def _shown(link: re.Match[str], path: str, topics: Mapping[str, str]) -> str:
    """A link in words: the command that opens a page of samattn, an address as it is, else the file's path."""
    picture, label, target = link.groups()
    if "://" in target:
        return f"{label} ({target})"
    file = posixpath.normpath(posixpath.join(posixpath.dirname(path), target.partition("#")[0]))
    if picture:
        return f"{label} (a picture: `{file}`)"
    if not target.partition("#")[0]:
        return label
    if file in topics:
        return f"{label} (`samattn guide {topics[file]}`)"
    return f"{label}" if file in label else f"{label} (`{file}`)"
