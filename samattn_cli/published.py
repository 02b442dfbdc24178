"""Published figures for the encoders of the presets, read from `published.json` next to this file.

They are data: what was printed, where, and the convention that it follows. `tape/conventions.py` does the counting.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

from .records import dataclass

FILE = Path(__file__).with_name("published.json")

Quantity = Literal["params", "macs", "flops"]

NOT_OF_THIS_ENCODER = {
    "whole_model": "the whole model",
    "nominal": "a nominal size",
    "other_input": "another input",
    "unexplained": "unexplained",
}
"""Conventions of figures that are not counts of the encoder, in words."""

_PREFIXES = {"": 0, "M": 6, "G": 9}


@dataclass(frozen=True)
class Source:
    """Where a figure was published, and the version that was read."""

    title: str
    address: str
    seen: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure as printed. `quantity` is its name in the source; `convention` is what it really counts."""

    quantity: Quantity
    figure: str
    unit: str
    image_size: int
    source: Source
    convention: str
    note: str = ""

    def prints(self, count: int) -> bool:
        """Whether `count` rounds to the figure as printed."""
        from decimal import ROUND_HALF_UP, Decimal  # not at start-up: few encoders have published figures

        step = Decimal(1).scaleb(Decimal(self.figure).as_tuple().exponent)  # type: ignore[arg-type]
        scaled = Decimal(count).scaleb(-_PREFIXES[self.unit[:1]])
        return scaled.quantize(step, ROUND_HALF_UP) == Decimal(self.figure)


@cache
def published() -> dict[str, tuple[Published, ...]]:
    """The figures of each preset."""
    file = _read()
    sources = {name: Source(**source) for name, source in file["sources"].items()}
    return {
        preset: tuple(Published(**{**entry, "source": sources[entry["source"]]}) for entry in entries)
        for preset, entries in file["figures"].items()
    }


def _read() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return read
