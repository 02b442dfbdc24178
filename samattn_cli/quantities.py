"""Quantities as people write them, a number and a unit: "24GiB", "6 TFLOP". Units must be said: 1 GiB is no GB."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache

from .errors import UsageError, did_you_mean
from .units import BINARY_UNITS, DECIMAL_PREFIXES

Units = Mapping[str, Decimal]
"""Each unit, and how many of the smallest whole thing (a byte, a FLOP) it is."""


def decimal_units(noun: str) -> dict[str, Decimal]:
    """A noun with each decimal prefix: "FLOP", "KFLOP", ..."""
    return {f"{prefix}{noun}": Decimal(1000) ** power for power, prefix in enumerate(DECIMAL_PREFIXES)}


BYTES: Units = decimal_units("B") | {unit: Decimal(1024) ** power for power, unit in enumerate(BINARY_UNITS)}
FLOPS: Units = decimal_units("FLOP")
MACS: Units = decimal_units("MAC")
PARAMS: Units = decimal_units("param") | {unit: scale for unit, scale in decimal_units("").items() if unit}
TIMES: Units = {"us": 1 / Decimal(1000), "ms": Decimal(1), "s": Decimal(1000)}
"""In milliseconds."""

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
"""What is measured in units that convert into one another, by the one that all are converted to."""

EXAMPLES = {
    "ms": "80 ms",
    "B": "6 GiB (2**30 bytes each) or 6 GB (10**9)",
    "FLOP": "6 TFLOP",
    "MAC": "3 TMAC",
    "params": "640 M",
    "": "94.3 %, 1.5x or 28",
}
"""By the unit of a figure; "" is that of shares, ratios and counts."""

QUANTITY = re.compile(r"(?P<number>[^A-Za-z\s]+)\s*(?P<unit>[A-Za-z]*)")
NUMBER = re.compile(r"\d{1,30}(?:\.\d{1,30})?|\d{1,3}(?:,\d{3})+", re.ASCII)


def parse_quantity(text: str, units: Units, *, of: str, where: str, example: str) -> int:
    """A quantity in the smallest thing of its units, rounded down.

    Args:
        text: a number and a unit (see `spelt`); "25,769,803,776 B" too, as reports have it.
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
    number = _number(found["number"], f"{where}: ")
    scale = _scale(found["unit"], units, of=of, where=where, example=example)
    return int(number * scale)


def _number(digits: str, before: str = "") -> Decimal:
    """The number that digits are, with commas between thousands or not; `before` begins the message if they are none."""
    if not NUMBER.fullmatch(digits):
        raise UsageError(f"{before}{digits} is not a number: use one such as 6 or 5.5")
    return Decimal(digits.replace(",", ""))


def _scale(unit: str, units: Units, *, of: str, where: str, example: str) -> Decimal:
    """How much a unit is."""
    for name, scale in units.items():
        if unit in spelt(name):
            return scale
    wrong = f"{unit} is not a unit of {of}" if unit else "has no unit"
    raise UsageError(f"{where}: {wrong}: use {', '.join(units)}, such as {example}")


@cache
def spelt(unit: str) -> frozenset[str]:
    """How a unit may be written: with k for K, with a plural's s, and all in small letters.

    Not so a letter alone (m is no M), nor capitals elsewhere: Gb are bits, FLOPS are FLOPs a second.
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
        UsageError: as `parse_quantity`, and for none.
    """
    example = "24GiB (2**30 bytes each) or 24GB (10**9)"
    found = parse_quantity(text, BYTES, of="memory", where=where, example=example)
    if not found:
        raise UsageError(f"{where}: must be above 0")
    return found


@dataclass(frozen=True)
class Quantity:
    """A number with its unit.

    Attributes:
        amount: in `unit`, exactly; of a percentage the share.
        unit: of `KINDS`, or "" for a bare number.
        text: as it was written.
        signed: whether it was written with a sign.
    """

    amount: Fraction
    unit: str
    text: str
    signed: bool = False

    def __str__(self) -> str:
        return self.text


WRITTEN_AS = "a number and a unit, such as 6 GiB, 6 TFLOP or +2%"
"""What a quantity is, in words."""

SIGNED = re.compile(r"(?P<sign>[+\-\u2212]?)\s*(?P<number>[\d.,]+)\s*(?P<unit>\S*|[KMGTP]\s+params?)")
"""A unit is one word, but for "75.42 K params", as reports write it."""


def quantity(written: str | float) -> Quantity:
    """A quantity of any kind: a number, with its sign if need be, and its unit if it has one.

    Raises:
        UsageError: if it is none, with what would be right.
    """
    text = str(written).strip()
    found = SIGNED.fullmatch(text) if isinstance(written, str) else None
    if isinstance(written, str) and found is None:
        raise UsageError(f"must be {WRITTEN_AS}")
    if found is None:
        return Quantity(Fraction(Decimal(text)), "", text, signed=text.startswith("-"))
    number = _number(found["number"])
    kind, scale = _known_unit("".join(found["unit"].split()))
    amount = Fraction(number) * Fraction(scale)
    return Quantity(amount if found["sign"] in {"", "+"} else -amount, kind, text, signed=bool(found["sign"]))


def _known_unit(unit: str) -> tuple[str, Decimal]:
    """The kind of a unit, and how much it is."""
    if not unit:
        return "", Decimal(1)
    if unit in _units():
        return _units()[unit]
    names = dict.fromkeys(name for units in KINDS.values() for name in units)
    alike = [name for name in names if name and name.lower() == unit.lower()]
    hint = (
        did_you_mean(alike[0] if alike else unit, names)
        or ": use one such as GiB, GB, GFLOP, GMAC, ms, params or %"
    )
    raise UsageError(f"{unit[:40]} is not a unit{hint}")


@cache
def _units() -> dict[str, tuple[str, Decimal]]:
    """Every unit in each way to write it; where two kinds have one, the first has it."""
    named = ((name, kind, scale) for kind, units in KINDS.items() for name, scale in units.items())
    known: dict[str, tuple[str, Decimal]] = {}
    for name, kind, scale in named:
        for written in spelt(name):
            known.setdefault(written, (kind, scale))
    return known
