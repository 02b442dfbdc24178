"""Figures of GPU memory that others published, read from `published_memory.json` next to this file.

They are data: what was printed, where, and the setting. `studies/published_memory.py` predicts them.
"""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

from .published import Source
from .records import dataclass

FILE = Path(__file__).with_name("published_memory.json")

Predicts = Literal["whole_sam", "head", "encoder", "nothing"]
"""What is predicted of a group: see "about" in the file."""


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One figure, as printed.

    Attributes:
        model: the model, and what the source calls the run.
        preset: the encoder's preset.
        keys: what is set on top of the preset, and of the keys of the group.
        figure: the number as printed.
        source: where it is printed.
        torch: the version of torch, where the source has one for each row.
    """

    model: str
    preset: str
    keys: tuple[str, ...]
    figure: str
    source: Source
    torch: str = ""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What the errors of a group must stay within; None where nothing is asked.

    Attributes:
        median, worst: of the errors, as shares of the printed figures.
        step: how far the difference of two rows may be from the printed one, in the printed unit: each of the two
            figures is rounded by half a digit.
    """

    median: float | None = None
    worst: float | None = None
    step: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class PrintedGroup:
    """Figures of one setting, in one unit.

    `unknown` is what is in them and cannot be predicted; `card` names the device whose kernels are predicted, "" an A100.
    """

    name: str
    title: str
    predicts: Predicts
    torch: str
    device: str
    includes: str
    unit: str
    unit_bytes: int
    keys: tuple[str, ...]
    bound: Bound | None
    unknown: str
    rows: tuple[Printed, ...]
    card: str = ""

    def nbytes(self, figure: str | Decimal) -> int:
        """A figure in the group's unit in bytes."""
        return int(Decimal(figure) * self.unit_bytes)


@dataclass(frozen=True)
class WholeSam:
    """The elements of each weight and buffer of SAM after its encoder; the images that the published script runs through."""

    weights: tuple[int, ...]
    images: int


@cache
def groups() -> tuple[PrintedGroup, ...]:
    """All figures, in the order of the file."""
    file = _read()
    sources = {name: Source(**source) for name, source in file["sources"].items()}
    return tuple(_group(entry, sources) for entry in file["groups"])


@cache
def whole_sam() -> WholeSam:
    """What runs next to SAM's encoder."""
    entry = _read()["whole_sam"]
    return WholeSam(tuple(entry["weights"]), entry["images"])


def _group(entry: dict[str, Any], sources: dict[str, Source]) -> PrintedGroup:
    rows = tuple(
        Printed(**{**row, "keys": tuple(row["keys"]), "source": sources[row["source"]]})
        for row in entry["rows"]
    )
    return PrintedGroup(
        **{
            **entry,
            "keys": tuple(entry["keys"]),
            "bound": _bound(entry["bound"]),
            "rows": rows,
        }
    )


def _bound(entry: dict[str, Any]) -> Bound | None:
    if not entry:
        return None
    step = {"step": Decimal(entry["step"])} if "step" in entry else {}
    return Bound(**{**entry, **step})


@cache
def _read() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return read
