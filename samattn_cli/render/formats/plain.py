"""Draws parts of a page without colour, and without Rich, which takes a tenth of a second to import and draw.

Columns get the widths that Rich gives them and text is wrapped as Rich wraps it, so that a page is the same with and without
colour; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from .parts import Column, Grid, Line, Part

WORD = re.compile(r"\s*\S+\s*")
PIECES = re.compile(r"[^._/\-]*[._/\-]?")
"""The pieces of a name such as attn.add_rel_w, each with the joint after it."""

SINGLE = ((" ", "~"), ("¡", "¬"), ("®", "ɏ"), ("‐", "—"), ("‘", "”"), ("…", "…"), ("⁰", "ⁱ"), ("⁴", "₎"), ("←", "⇿"), ("∀", "⋿"),
          ("⌈", "⌋"), ("─", "▟"), ("✓", "✓"), ("✗", "✗"))  # fmt: skip
"""Ranges of characters that take one cell of a terminal, and are shown as they are."""

ELLIPSIS = "…"


class NotPlainError(Exception):
    """Parts cannot be drawn here: Rich can draw them."""


def draw(parts: Sequence[object], width: int) -> list[str]:
    """The lines of parts, at most `width` characters long where they may be wrapped.

    Raises:
        NotPlainError: for what is not a part, for characters that do not take one cell each, and for columns without room.
    """
    known = [part for part in parts if isinstance(part, Line | Grid)]
    characters = set().union(*(text for part in known for text in _texts(part))) - {"\n"}
    if len(known) < len(parts) or not all(map(_is_single, characters)):
        raise NotPlainError
    return [each for part in known for each in _lines(part, width)]


def _is_single(character: str) -> bool:
    return any(low <= character <= high for low, high in SINGLE)


def _texts(part: Part) -> Iterator[str]:
    if isinstance(part, Line):
        yield part.text
        return
    yield from (column.header for column in part.columns)
    yield from (cell.text for row in part.rows for cell in row.cells)


def _lines(part: Part, width: int) -> Iterable[str]:
    if isinstance(part, Grid):
        return _grid(part, width)
    if part.no_wrap:
        return part.text.split("\n")
    return (" " * part.indent + each for each in wrapped(part.text, width - part.indent, folds=True))


def wrapped(text: str, width: int, *, folds: bool, no_wrap: bool = False, right: bool = False) -> list[str]:
    """Text in lines of at most `width` characters.

    A longer word is folded; without `folds`, and in a line that is not to be wrapped, it is cut. Lines for the right of a cell
    have no spaces at their end.
    """
    width, lines = max(width, 1), text.split("\n")
    if not no_wrap:
        lines = [part for each in lines for part in _divided(each, width, folds=folds)]
    return [_cut(each.rstrip() if right else each, width, folds=folds) for each in lines]


def _divided(text: str, width: int, *, folds: bool) -> Iterator[str]:
    """A line, divided before the words that no longer fit."""
    if len(text) <= width:
        yield text
        return
    begin = used = 0
    for match in WORD.finditer(text):
        start, word = match.start(), match[0]
        length = len(word.rstrip())
        if used + length <= width:
            used += len(word)
            continue
        if (length <= width and used) or length > width:
            if start > begin:
                yield text[begin:start]
                begin = start
            used = len(word)
        if length > width and folds:
            ends = range(start + width, match.end(), width)
            yield from (text[end - width : end] for end in ends)
            begin = ends[-1] if ends else start
            used = match.end() - begin
    yield text[begin:]


def _cut(text: str, width: int, *, folds: bool) -> str:
    if len(text) > width:
        text = text[: max(width, len(text.rstrip()))]  # spaces at the end are dropped first
    if len(text) <= width:
        return text
    return text[:width] if folds else text[: width - 1] + ELLIPSIS


def _grid(grid: Grid, max_width: int) -> Iterator[str]:
    if not grid.columns:
        yield ""
        return
    dividers = len(grid.columns) - 1 if grid.is_ruled else 0
    widths = widths_of(grid, max_width - dividers)
    if any(
        width <= sum(_padding(grid, number)) for number, width in enumerate(widths) if _has_text(grid, number)
    ):
        raise NotPlainError
    divider = " " if grid.is_ruled else ""
    if grid.is_ruled:
        headers = tuple(Line(((column.header, ""),)) for column in grid.columns)
        yield from _row(grid, headers, widths, divider, to_bottom=True)
        yield "─" * (sum(widths) + dividers)
    for number, row in enumerate(grid.rows, 1):
        yield from _row(grid, row.cells, widths, divider)
        if grid.is_ruled and row.ends_section and number < len(grid.rows):
            yield ""


def _has_text(grid: Grid, number: int) -> bool:
    """Whether a column has any text."""
    return bool(grid.columns[number].header) or any(row.cells[number].text for row in grid.rows)


def _row(
    grid: Grid, cells: Sequence[Line], widths: Sequence[int], divider: str, *, to_bottom: bool = False
) -> Iterator[str]:
    """The lines of a row: those of each cell, next to each other, as high as the highest."""
    columns = [
        _cell(cell, column, width, *_padding(grid, number))
        for number, (cell, column, width) in enumerate(zip(cells, grid.columns, widths, strict=True))
    ]
    height = max(map(len, columns))
    for width, lines in zip(widths, columns, strict=True):
        blanks = [" " * width] * (height - len(lines))
        lines[:] = [*blanks, *lines] if to_bottom else [*lines, *blanks]
    return map(divider.join, zip(*columns, strict=True))


def _cell(cell: Line, column: Column, width: int, left: int, right: int) -> list[str]:
    """The lines of a cell, each `width` long."""
    inner = width - left - right
    text = _broken(cell.text, inner) if cell.breaks else cell.text
    is_right = cell.right or column.right
    lines = wrapped(text, inner, folds=column.folds, no_wrap=column.no_wrap or cell.no_wrap, right=is_right)
    if is_right:
        lines = [each.rjust(inner) for each in lines]
    return [f"{'':{left}}{each}".ljust(width) for each in lines]


def _padding(grid: Grid, number: int) -> tuple[int, int]:
    """Spaces to the left and to the right in a column: a ruled grid has its gap at the left, another at the right."""
    if grid.is_ruled:
        return (grid.gap if number else 0), 0
    return 0, (grid.gap if number < len(grid.columns) - 1 else 0)


def widths_of(grid: Grid, most: int) -> list[int]:
    """The widths of columns, padding included, as Rich's `Table._calculate_column_widths` has them."""
    widths = [_measured(grid, number, most) or 1 for number in range(len(grid.columns))]
    if sum(widths) <= most:
        return widths
    may_shrink = [column.width is None and not column.no_wrap for column in grid.columns]
    widths = _collapsed(widths, may_shrink, most)
    if (excess := sum(widths) - most) > 0:
        widths = _reduced(excess, [1] * len(widths), widths, widths)
    return [_measured(grid, number, width) for number, width in enumerate(widths)]


def _measured(grid: Grid, number: int, most: int) -> int:
    """The width of a column's widest line, with padding, at most `most`."""
    column, padding = grid.columns[number], sum(_padding(grid, number))
    if column.width is not None:
        return min(column.width + padding, most)
    texts = [row.cells[number].text for row in grid.rows] + [column.header] * grid.is_ruled
    lines = (len(each) for text in texts for each in text.split("\n"))
    return min(max(lines, default=most) + padding, most)


def _collapsed(widths: list[int], may_shrink: Sequence[bool], most: int) -> list[int]:
    """The widths after the widest columns that may shrink have shrunk, evenly, until all fit or none may."""
    while any(may_shrink) and (excess := sum(widths) - most) > 0:
        widest = max(width for width, may in zip(widths, may_shrink, strict=True) if may)
        others = (
            width if may and width != widest else 0 for width, may in zip(widths, may_shrink, strict=True)
        )
        step = widest - max(others)
        if not step:
            break
        ratios = [int(width == widest and may) for width, may in zip(widths, may_shrink, strict=True)]
        widths = _reduced(excess, ratios, [min(excess, step)] * len(widths), widths)
    return widths


def _reduced(total: int, ratios: Sequence[int], most: Sequence[int], widths: Sequence[int]) -> list[int]:
    """The widths with `total` taken away by `ratios`, at most `most` of each: Rich's `ratio_reduce`."""
    ratios = [ratio if limit else 0 for ratio, limit in zip(ratios, most, strict=True)]
    left, result = sum(ratios), []
    for ratio, limit, width in zip(ratios, most, widths, strict=True):
        taken = min(limit, round(ratio * total / left)) if ratio and left > 0 else 0
        result.append(width - taken)
        total, left = total - taken, left - (ratio if ratio and left > 0 else 0)
    return result


def _broken(text: str, width: int) -> str:
    """Text with line breaks in its long names, after joints."""
    if len(text) <= width:
        return text
    return "\n".join(" ".join(_folded(word, width) for word in each.split(" ")) for each in text.split("\n"))


def _folded(word: str, width: int) -> str:
    return word if len(word) <= width else "\n".join(broken_name(word, width, len))


def broken_name(word: str, width: int, length: Callable[[str], int]) -> Iterator[str]:
    """The lines of a word that is wider than a column; a piece that is wider itself is wrapped as any text."""
    line = ""
    for piece in PIECES.findall(word):
        if line and length(line + piece) > width:
            yield line
            line = ""
        line += piece
    yield line
