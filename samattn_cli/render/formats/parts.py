"""What a page on a terminal is drawn from: lines of text and grids, without a library that draws them.

`plain` draws them without colour; `styled` hands them to Rich. Styles are Rich's: "bold", "cyan", "dim".
"""

from __future__ import annotations

from ...records import dataclass


@dataclass(frozen=True)
class Line:
    """Text that is wrapped where it is drawn.

    Attributes:
        pieces: its text in pieces, each with a style.
        no_wrap: whether it keeps its length, wherever it is drawn.
        indent: spaces before each of its lines.
        right: whether it is at the right of its cell, whatever the column says.
        breaks: whether long names are wrapped at their joints: "attn." and "scores", not "attn.score" and "s".
        is_strip: whether each character is a cell of a picture, in which letters stand out from bars.
    """

    pieces: tuple[tuple[str, str], ...]
    no_wrap: bool = False
    indent: int = 0
    right: bool = False
    breaks: bool = False
    is_strip: bool = False

    @property
    def text(self) -> str:
        """The text of all pieces."""
        return "".join([text for text, _ in self.pieces])


def line(
    text: str = "", style: str = "", *, no_wrap: bool = False, indent: int = 0, right: bool = False
) -> Line:
    """A line of one piece."""
    return Line(((text, style),), no_wrap, indent, right)


@dataclass(frozen=True)
class Column:
    """A column of a grid.

    Attributes:
        header: what stands above it, in a ruled grid.
        right: whether its cells are at its right.
        folds: whether a word that is too long goes on in the next line; otherwise it ends in "…".
        no_wrap: whether its cells are not wrapped, and it is narrowed last.
        width: its width; None for that of its widest cell.
        style: the style of its cells.
    """

    header: str = ""
    right: bool = False
    folds: bool = False
    no_wrap: bool = False
    width: int | None = None
    style: str = ""


@dataclass(frozen=True)
class Row:
    """Cells of a grid; `ends_section` leaves a blank line after it."""

    cells: tuple[Line, ...]
    style: str = ""
    ends_section: bool = False


@dataclass(frozen=True)
class Grid:
    """Cells in columns, `gap` spaces apart. A ruled one has headers, and a rule under them."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    gap: int = 0
    is_ruled: bool = False


Part = Line | Grid
