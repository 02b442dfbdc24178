"""Axes for each unit: round ticks, readable labels, and exact values for tooltips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from ...figures import Figure
from ...units import (
    BINARY_UNITS,
    DECIMAL_PREFIXES,
    TIME_UNITS,
    format_bytes,
    format_count,
    format_ms,
    format_ratio,
    format_things,
)
from .theme import Spec

Unit = Literal["FLOP", "MAC", "parameters", "B", "ms", "ratio", "layers"]

NOUNS: dict[str, Unit] = {"params": "parameters", "MAC": "MAC", "FLOP": "FLOP", "B": "B", "ms": "ms"}


def unit_of(figure: Figure) -> Unit:
    """The unit of a figure's axis."""
    return NOUNS[figure.unit]


WHOLE = ("FLOP", "MAC", "parameters", "B")
"""Units of integers that may be large."""

EXACT_FLOAT = 2**53
"""Integers up to here are exact in JavaScript."""

CLOSE, SHORT, LONG = 2, 10, 1e4
"""Ratios of the largest to the smallest value.

Up to the first all ticks have labels, up to the second more than 1, 2 and 5, beyond the third only 1.
"""

DIGIT = "(round(1e6 * datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9))) / 1e6)"
"""Vega's expression for a tick over its power of ten: 5 for 500."""

LEAST_MS = 1e-3  # TIME_UNITS begin with microseconds


def step_of(values: Iterable[float], unit: Unit) -> int:
    """The divisor for the values of an axis: for bytes the largest binary unit, so that ticks are round."""
    largest = max(values)
    steps = [1024**power for power in range(len(BINARY_UNITS)) if unit == "B" and 1024**power <= largest]
    return max(steps, default=1)


def number(value: float, step: int = 1) -> float:
    """A value to draw by, in steps; an integer that JavaScript cannot hold exactly is rounded."""
    scaled = value if step == 1 else value / step
    return scaled if abs(scaled) <= EXACT_FLOAT else float(scaled)


def short(value: float, unit: Unit) -> str:
    """A value as people say it: "5.96 TFLOP", "2.00 GiB"."""
    if unit == "ms":
        return format_ms(float(value))
    if unit == "ratio":
        return format_ratio(float(value))
    if unit == "layers":
        return format_things(int(value), "layer")
    return (
        format_bytes(int(value)) if unit == "B" else format_count(int(value), unit.replace("parameters", ""))
    )


def exact(value: float, unit: Unit) -> str:
    """A value in full, then as people say it: "5,961,082,830,848 FLOP (5.96 TFLOP)"."""
    words = short(value, unit)
    if unit not in WHOLE or words.startswith(f"{value:,}"):
        return words
    return f"{value:,} {unit} ({words})"


def scale(values: Sequence[float], unit: Unit | None = None) -> Spec:
    """Logarithmic, in powers of two for bytes and sizes; linear if a value is zero."""
    if min(values) <= 0:
        return {"type": "linear", "zero": True, "nice": True}
    base = 2 if unit in ("B", None) else 10
    return {"type": "log", "base": base, "nice": False, "padding": 10}


def axis(values: Sequence[float], unit: Unit, step: int) -> Spec:
    """Ticks at 1, 2 and 5 of each power of ten, or at powers of two for bytes; if they are many, only at powers.

    A linear axis, which has a zero, keeps to one unit.
    """
    linear = min(values) <= 0
    words = _in_one_unit(unit, step, max(values)) if linear else _words(unit, step)
    spec: Spec = {"title": None, "tickCount": 5, "labelOverlap": "greedy", "labelExpr": words}
    if linear or unit == "B" or max(values) <= CLOSE * min(values):
        return spec
    span = max(values) / min(values)
    named = "[1]" if span > LONG else "[1, 2, 5]" if span > SHORT else "[1, 2, 3, 4, 5, 7]"
    hidden = f"({DIGIT} == round({DIGIT}) && indexof({named}, round({DIGIT})) < 0)"
    faint = {"condition": {"test": hidden, "value": 0.45}, "value": 1}
    return {**spec, "labelExpr": f"{hidden} ? '' : {words}", "gridOpacity": faint}


def _units(unit: Unit, step: int) -> dict[float, str]:
    """The units of an axis, ascending: the size of each in steps, and its name."""
    if unit == "ratio":
        return {1: "x"}
    if unit == "B":
        return {1024**power / step: f" {name}" for power, name in enumerate(BINARY_UNITS)}
    if unit == "ms":
        return {LEAST_MS * 1000**power: f" {name}" for power, name in enumerate(TIME_UNITS)}
    of = "" if unit in ("parameters", "layers") else unit
    return {1000**power: f" {prefix}{of}" for power, prefix in enumerate(DECIMAL_PREFIXES)}


def _words(unit: Unit, step: int) -> str:
    """Vega's expression for a tick's label in the largest unit that is not above it: "512 MiB", "5 TFLOP", "1.5x"."""
    (least, name), *larger = _units(unit, step).items()
    expression = _in(least, name)
    for size, name in larger:
        expression = f"datum.value >= {size} ? {_in(size, name)} : {expression}"
    return expression


def _in_one_unit(unit: Unit, step: int, largest: float) -> str:
    """The same expression in one unit, that of the largest value."""
    units = _units(unit, step)
    size = max((size for size in units if size <= largest / step), default=min(units))
    return f"datum.value == 0 ? '0' : {_in(size, units[size])}"


def _in(size: float, name: str) -> str:
    return f"format(datum.value / {size}, '.4~g') + '{name}'"
