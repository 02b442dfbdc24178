"""Reports in ASCII, for an output whose encoding has no other characters."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from ...records import replace
from ..elements import Math, Page
from ..formulas import unicode

PLAIN = str.maketrans(
    {
        "✓": "+",
        "✗": "x",
        "×": "x",
        "→": "->",
        "─": "-",
        "·": "*",
        "⌈": "ceil(",
        "⌉": ")",
        "⌊": "floor(",
        "⌋": ")",
    }
    | {power: f"^{number}" for number, power in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
    | dict(zip("▁▂▃▄▅▆▇█", "_.:-=+*#", strict=True))
)


def in_ascii(page: Page) -> Page:
    """The same page with words and formulas in ASCII. This comes before the layout, as some get longer."""
    return _in_ascii(page)  # type: ignore[no-any-return]


def _in_ascii(part: Any) -> Any:
    if isinstance(part, str):
        return (unicode(part) if isinstance(part, Math) else part).translate(PLAIN)
    if isinstance(part, tuple):
        return tuple(map(_in_ascii, part))
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{field.name: _in_ascii(getattr(part, field.name)) for field in fields(part)})
    return part
