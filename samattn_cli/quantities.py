"""Quantities as people write them, a number and a unit: "24GiB", "6 TFLOP". Units must be said: 1 GiB is no GB."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from .errors import UsageError
from .units import BINARY_UNITS, DECIMAL_PREFIXES

Units = Mapping[str, Decimal]
"""Each unit, and how many of the smallest whole thing (a byte, a FLOP) it is."""


def decimal_units(noun: str) -> dict[str, Decimal]:
    """A noun with each decimal prefix: "FLOP", "KFLOP", ..."""
    return {f"{prefix}{noun}": Decimal(1000) ** power for power, prefix in enumerate(DECIMAL_PREFIXES)}


BYTES: Units = decimal_units("B") | {unit: Decimal(1024) ** power for power, unit in enumerate(BINARY_UNITS)}

QUANTITY = re.compile(r"(?P<number>[^A-Za-z\s]+)\s*(?P<unit>[A-Za-z]*)")
NUMBER = re.compile(r"\d{1,30}(?:\.\d{1,30})?|\d{1,3}(?:,\d{3})+")


def parse_quantity(text: str, units: Units, *, of: str, where: str, example: str) -> int:
    """A quantity in the smallest thing of its units, rounded down.

    Args:
        text: a number and a unit, whose capitals do not matter, nor a plural; "25,769,803,776 B" too, as reports have it.
        units: those that there are.
        of: what they are units of.
        where: what messages begin with, such as "--memory 24".
        example: what messages give as one.

    Raises:
        UsageError: if it is none, or has no unit or one that there is not.
    """
    found = QUANTITY.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{where}: must be a number and a unit, such as {example}")
    if not NUMBER.fullmatch(found["number"]):
        raise UsageError(f"{where}: {found['number']} is no number: use one such as 6 or 5.5")
    scale = _scale(found["unit"], units, of=of, where=where, example=example)
    return int(Decimal(found["number"].replace(",", "")) * scale)


def _scale(unit: str, units: Units, *, of: str, where: str, example: str) -> Decimal:
    """How much a unit is."""
    for name, scale in units.items():
        if unit.lower() in {name.lower(), f"{name}s".lower()}:
            return scale
    wrong = f"{unit} is no unit of {of}" if unit else "has no unit"
    raise UsageError(f"{where}: {wrong}: use {', '.join(units)}, such as {example}")


def parse_bytes(text: str, where: str) -> int:
    """Bytes of memory, such as "24GiB" (24 * 2**30) or "24 GB" (24 * 10**9).

    Raises:
        UsageError: as `parse_quantity`, and for none.
    """
    example = "24GiB (2**30 bytes each) or 24GB (10**9)"
    found = parse_quantity(text, BYTES, of="memory", where=where, example=example)
    if not found:
        raise UsageError(f"{where}: must be above 0")
    return found
