"""Text in HTML: what reports say is other people's text, so all of it is escaped here."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator
from itertools import count

from ...units import Figures, Rounded
from ..elements import Math
from ..formulas import unicode
from ..shield import visible

NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
NUMBER = re.compile(r"^[<+-]?[\d,]*\.?\d+(e[+-]?\d+)?(?=\D|$)")
"""A number with which a cell begins."""


def escaped(text: str) -> str:
    """Text that a browser shows as it is; what would change its direction or is not printable is made visible."""
    return html.escape(visible(unicode(text) if isinstance(text, Math) else text, keep="\n"))


def in_lines(text: str) -> str:
    """The same, with its lines below each other."""
    return escaped(text).replace("\n", "<br>")


def figure(text: str) -> str:
    """The same; a figure that was rounded keeps its value, and every digit as its title."""
    if isinstance(text, Figures):
        return "".join(map(figure, text.parts))
    if not isinstance(text, Rounded) or math.isnan(text.value):
        return escaped(text)
    title = f' title="{escaped(text.exact)}"' if text.exact != text else ""
    return f'<data value="{text.value}"{title}>{escaped(text)}</data>'


def number_of(text: str) -> float | None:
    """What a cell is sorted by if it is a figure: its value, or the number with which it begins."""
    if isinstance(text, Figures):
        return next(filter(None, map(number_of, text.parts)), None)
    if isinstance(text, Rounded):
        return text.value
    found = NUMBER.match(text)
    return float(found[0].lstrip("<+").replace(",", "")) if found else None


class Names:
    """Names of the places on a page, for links: each from the words of its heading, and each once.

    Args:
        reserved: names that are taken.
        prefix: how each name begins.

    Attributes:
        headings: each name and its heading, in their order.
    """

    def __init__(self, reserved: Iterable[str] = (), prefix: str = "") -> None:
        self._taken, self._prefix = set(reserved), prefix
        self.headings: list[tuple[str, str]] = []

    def __call__(self, heading: str) -> str:
        """A name that is not taken."""
        candidates = (f"{self._prefix}{word}" for word in _candidates(heading))
        name = next(name for name in candidates if name not in self._taken)
        self._taken.add(name)
        self.headings.append((name, heading))
        return name


def _candidates(heading: str) -> Iterator[str]:
    """A name from the words of a heading, then the same with numbers."""
    word = NOT_IN_NAMES.sub("-", heading.lower()).strip("-") or "section"
    yield word
    yield from (f"{word}-{number}" for number in count(2))
