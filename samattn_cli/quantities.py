"""Quantities as people write them, a number and a unit: "24GiB", "6 TFLOP". Units must be said: 1 GiB is no GB."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from .errors import UsageError

PREFIXES = {"": 0, "K": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40, "PiB": 50}

Units = Mapping[str, Decimal]
"""Each unit, and how many of the smallest whole thing (a byte, a FLOP) it is."""

BYTES: Units = {f"{prefix}B": Decimal(10) ** power for prefix, power in PREFIXES.items()} | {
    unit: Decimal(2) ** power for unit, power in BINARY.items()
}

QUANTITY = re.compile(r"(?P<number>[^A-Za-z\s]+)\s*(?P<unit>[A-Za-z]*)")
NUMBER = re.compile(r"\d{1,30}(?:\.\d{1,30})?|\d{1,3}(?:,\d{3})+")


def parse_quantity(text: str, units: Units, where: str, example: str) -> int:
    """A quantity in the smallest thing of its units, rounded down.

    Args:
        text: a number and a unit, whose capitals do not matter; "25,769,803,776 B" too, as reports write it.
        units: those that there are.
        where: what messages begin with, such as "--memory 24".
        example: what messages give as one.

    Raises:
        UsageError: if it is none, has no unit or one that there is not, or is less than 1.
    """
    found = QUANTITY.fullmatch(text.strip())
    if found is None or not NUMBER.fullmatch(found["number"]):
        raise UsageError(f"{where}: must be a number and a unit, such as {example}")
    value = int(Decimal(found["number"].replace(",", "")) * scale_of(found["unit"], units, where, example))
    if value < 1:
        raise UsageError(f"{where}: must be above 0")
    return value


def scale_of(unit: str, units: Units, where: str, example: str) -> Decimal:
    """How much a unit is.

    Raises:
        UsageError: if none is said, or there is no such.
    """
    for name, scale in units.items():
        if unit.lower() == name.lower():
            return scale
    known = ", ".join(units)
    if not unit:
        raise UsageError(f"{where}: has no unit: use {known}, such as {example}")
    raise UsageError(f"{where}: there is no unit {unit}: use {known}, such as {example}")


def parse_bytes(text: str, where: str) -> int:
    """Bytes, such as "24GiB" (24 * 2**30) or "24 GB" (24 * 10**9).

    Raises:
        UsageError: as `parse_quantity`.
    """
    return parse_quantity(text, BYTES, where, "24GiB (2**30 bytes each) or 24GB (10**9)")
