"""Parses quantities, a number and a unit: "24GiB", "6 TFLOP". The unit is required, because 1 GiB is not 1 GB."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from functools import cache

from .errors import UsageError, did_you_mean
from .records import dataclass
from .units import BINARY_UNITS, DECIMAL_PREFIXES

Units = Mapping[str, Decimal]
"""Each unit, in terms of the base unit (a byte, a FLOP)."""


def decimal_units(noun: str) -> dict[str, Decimal]:
    """A noun with each decimal prefix: "FLOP", "KFLOP", ..."""
    return {f"{prefix}{noun}": Decimal(1000) ** power for power, prefix in enumerate(DECIMAL_PREFIXES)}


BYTES: Units = decimal_units("B") | {unit: Decimal(1024) ** power for power, unit in enumerate(BINARY_UNITS)}
FLOPS: Units = decimal_units("FLOP")
MACS: Units = decimal_units("MAC")
PARAMS: Units = decimal_units("param") | {unit: scale for unit, scale in decimal_units("").items() if unit}
TIMES: Units = {"us": 1 / Decimal(1000), "ms": Decimal(1), "s": Decimal(1000)}
"""The base unit is a millisecond."""

PERCENT, TIMES_AS_MUCH = "%", "x"
SHARES: Units = {PERCENT: 1 / Decimal(100)}
RATIOS: Units = {TIMES_AS_MUCH: Decimal(1)}

KINDS: Mapping[str, Units] = {
    "ms": TIMES,
    "B": BYTES,
    "FLOP": FLOPS,
    "MAC": MACS,
    PERCENT: SHARES,
    TIMES_AS_MUCH: RATIOS,
    "params": PARAMS,
}
"""The units that convert into one another, by their base unit."""

EXAMPLES = {
    "ms": "80 ms",
    "B": "6 GiB (2**30 bytes each) or 6 GB (10**9)",
    "FLOP": "6 TFLOP",
    "MAC": "3 TMAC",
    "params": "640 M",
    "": "94.3 %, 1.5x or 28",
}
"""Examples for messages, by the unit of a figure; "" is the unit of shares, ratios and counts."""

QUANTITY = re.compile(r"(?P<number>[^A-Za-z\s]+)\s*(?P<unit>[A-Za-z]*)")
NUMBER = re.compile(r"\d{1,30}(?:\.\d{1,30})?|\d{1,3}(?:,\d{3})+", re.ASCII)


def parse_quantity(text: str, units: Units, *, of: str, where: str, example: str) -> int:
    """A quantity in its base unit, rounded down.

    Args:
        text: a number and a unit (see `spellings`); also "25,769,803,776 B", as reports have it.
        units: the units to choose from.
        of: what they measure, for messages.
        where: the start of messages, such as "--memory 24".
        example: an example for messages.

    Raises:
        UsageError: if the text is not a number with one of these units.
    """
    match = QUANTITY.fullmatch(text.strip())
    if match is None:
        raise UsageError("not-a-quantity", f"{where}: must be a number and a unit, such as {example}")
    number = _number(match["number"], f"{where}: ")
    scale = _scale(match["unit"], units, of=of, where=where, example=example)
    return int(number * scale)


def _number(digits: str, where: str = "") -> Decimal:
    """The number that digits stand for, with or without commas between thousands; messages begin with `where`."""
    if not NUMBER.fullmatch(digits):
        raise UsageError("not-a-number", f"{where}{digits} is not a number: use one such as 6 or 5.5")
    return Decimal(digits.replace(",", ""))


def _scale(unit: str, units: Units, *, of: str, where: str, example: str) -> Decimal:
    """The size of a unit in its base unit."""
    for name, scale in units.items():
        if unit in spellings(name):
            return scale
    known = f"use {', '.join(units)}, such as {example}"
    if unit:
        raise UsageError("unknown-unit", f"{where}: {unit} is not a unit of {of}: {known}")
    raise UsageError("missing-unit", f"{where}: the unit is missing: {known}")


@cache
def spellings(unit: str) -> frozenset[str]:
    """The ways to write a unit: with k for K, with the s of a plural, or all in lower case.

    A single letter keeps its case (m is not M), and other capitals too: Gb are bits, FLOPS are FLOPs per second.
    """
    names = {unit, f"k{unit[1:]}"} if unit.startswith("K") else {unit}
    if len(unit) > 1:
        names |= {unit.lower()}
    if len(unit) > len("GiB"):
        names |= {f"{name}s" for name in names}
    return frozenset(names)


def parse_bytes(text: str, where: str) -> int:
    """Bytes of memory, such as "24GiB" (24 * 2**30) or "24 GB" (24 * 10**9).

    Raises:
        UsageError: as `parse_quantity`, and for 0 bytes.
    """
    example = "24GiB (2**30 bytes each) or 24GB (10**9)"
    nbytes = parse_quantity(text, BYTES, of="memory", where=where, example=example)
    if not nbytes:
        raise UsageError("out-of-range", f"{where}: must be above 0")
    return nbytes


@dataclass(frozen=True)
class Quantity:
    """A number with its unit.

    Attributes:
        amount: the exact amount in `unit`; for a percentage the share.
        unit: a base unit of `KINDS`, or "" for a bare number.
        text: the quantity as it was written.
        signed: whether it was written with a sign.
    """

    amount: Fraction
    unit: str
    text: str
    signed: bool = False

    def __str__(self) -> str:
        return self.text


WRITTEN_AS = "a number and a unit, such as 6 GiB, 6 TFLOP or +2%"
"""What a quantity must be, for messages."""

SIGNED = re.compile(r"(?P<sign>[+\-\u2212]?)\s*(?P<number>[\d.,]+)\s*(?P<unit>\S*|[KMGTP]\s+params?)")
"""A unit is one word, but for "75.42 K params", as reports write it."""


def quantity(written: str | float) -> Quantity:
    """A quantity of any kind: a number with an optional sign and an optional unit.

    Raises:
        UsageError: if it is not a quantity; the message says what would be right.
    """
    text = str(written).strip()
    match = SIGNED.fullmatch(text) if isinstance(written, str) else None
    if isinstance(written, str) and match is None:
        raise UsageError("not-a-quantity", f"must be {WRITTEN_AS}")
    if match is None:
        return Quantity(Fraction(Decimal(text)), "", text, signed=text.startswith("-"))
    number = _number(match["number"])
    base_unit, scale = _known_unit("".join(match["unit"].split()))
    amount = Fraction(number) * Fraction(scale)
    signed_amount = amount if match["sign"] in {"", "+"} else -amount
    return Quantity(signed_amount, base_unit, text, signed=bool(match["sign"]))


def _known_unit(unit: str) -> tuple[str, Decimal]:
    """The base unit of a unit, and its size in this base unit."""
    if not unit:
        return "", Decimal(1)
    if unit in _units():
        return _units()[unit]
    names = dict.fromkeys(name for units in KINDS.values() for name in units)
    same = [name for name in names if name and name.lower() == unit.lower()]
    hint = (
        did_you_mean(same[0] if same else unit, names)
        or ": use one such as GiB, GB, GFLOP, GMAC, ms, params or %"
    )
    raise UsageError("unknown-unit", f"{unit[:40]} is not a unit{hint}")


@cache
def _units() -> dict[str, tuple[str, Decimal]]:
    """Every spelling of every unit. If two kinds share a spelling, it belongs to the first."""
    named = ((name, kind, scale) for kind, units in KINDS.items() for name, scale in units.items())
    known: dict[str, tuple[str, Decimal]] = {}
    for name, kind, scale in named:
        for spelling in spellings(name):
            known.setdefault(spelling, (kind, scale))
    return known
