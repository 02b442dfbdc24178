"""Figures that others published for the encoders of the presets: read from `published.json`, which ships beside this.

They are data: what was printed, where, and by which convention it is to be read. Counting is for `tape/conventions.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).with_name("published.json")

Quantity = Literal["params", "macs", "flops"]

NOT_OF_THIS_ENCODER = {
    "whole_model": "the whole model",
    "nominal": "a nominal size",
    "other_input": "another input",
    "unexplained": "unexplained",
}
"""Conventions by which no count of the encoder gives the figure, in words."""

_PREFIXES = {"": 0, "M": 6, "G": 9}


@dataclass(frozen=True)
class Source:
    """Where a figure was published, and the version that was read."""

    title: str
    address: str
    seen: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure as printed: `quantity` is what its source calls it, `convention` what is counted in truth."""

    quantity: Quantity
    figure: str
    unit: str
    image_size: int
    source: Source
    convention: str
    note: str = ""

    def prints(self, count: int) -> bool:
        """Whether `count` is the figure to its last printed digit."""
        step = Decimal(1).scaleb(Decimal(self.figure).as_tuple().exponent)  # type: ignore[arg-type]
        return self._scaled(count).quantize(step, ROUND_HALF_UP) == Decimal(self.figure)

    def _scaled(self, count: int) -> Decimal:
        return Decimal(count).scaleb(-_PREFIXES[self.unit[:1]])


@cache
def published() -> dict[str, tuple[Published, ...]]:
    """The figures by preset."""
    file = _read()
    sources = {name: Source(**source) for name, source in file["sources"].items()}
    return {
        preset: tuple(Published(**{**entry, "source": sources[entry["source"]]}) for entry in entries)
        for preset, entries in file["figures"].items()
    }


def _read() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return read
