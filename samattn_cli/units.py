"""Sizes of dtypes, and how figures are shown with their units. 1 GiB is 2**30 bytes; 1 GB is 10**9 bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""The bytes of one number of each dtype."""

DTYPE_NAMES = {
    **{f"torch.{name}": name for name in ITEM_BYTES},
    **dict.fromkeys(("fp32", "f32", "float", "torch.float"), "float32"),
    **dict.fromkeys(("bf16",), "bfloat16"),
    **dict.fromkeys(("fp16", "f16", "half", "torch.half"), "float16"),
}
"""Other names of dtypes."""

INT64_BYTES = 8

ALLOCATION_BYTES = 512
"""Every allocation is rounded up to a multiple of this, as in PyTorch's CUDA caching allocator (kMinBlockSize)."""

KERNEL_ALIGNMENT_BYTES = 16
"""CUDA's attention kernels take vectors whose length is a multiple of this (minimum_gemm_alignment, sdp_utils.cpp)."""

FLOPS_PER_MAC = 2
"""A multiply and an add, as torch's FlopCounterMode counts."""

LARGE_RATIO = 10_000

SMALLEST_PERCENT, LARGE_PERCENT = 0.01, 1000
"""Below the first, two decimals would show 0.00; from the second on, decimals are noise."""

MS_PER_SECOND = 1000

DECIMAL_PREFIXES = ("", "K", "M", "G", "T", "P", "E")
TIME_UNITS = ("us", "ms", "s")
BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


class Rounded(str):
    """A figure as it is shown, which keeps its `value` in `unit`: a page in a browser shows every digit on hover.

    The unit is "%" for a share of 1, and "x" for a ratio.
    """

    __slots__ = ("unit", "value")
    value: float
    unit: str

    def __new__(cls, text: str, value: float = math.nan, unit: str = "") -> Rounded:  # noqa: PYI034 - Self is new
        """The text, with what it was made from."""
        made = super().__new__(cls, text)
        made.value, made.unit = value, unit
        return made

    @property
    def exact(self) -> str:
        """Every digit: "6,442,450,945 B"."""
        return format_exact(self.value, self.unit)


class Figures(str):
    """Several figures in one text, each of which keeps its value: "227.1 G 0.95x"."""

    __slots__ = ("parts",)
    parts: tuple[str, ...]

    def __new__(cls, *parts: str) -> Figures:  # noqa: PYI034 - Self is new
        """The parts, one after the other."""
        made = super().__new__(cls, "".join(parts))
        made.parts = parts
        return made


def format_count(value: float, unit: str = "") -> str:
    """Four digits with a decimal prefix: 179_760_000_000 -> "179.8 G" (+ unit)."""
    return Rounded(_scaled(value, 1000, [f"{prefix}{unit}" for prefix in DECIMAL_PREFIXES]), value, unit)


def format_bytes(value: float) -> str:
    """Four digits with a binary prefix: 67_108_864 -> "64.00 MiB", -1024 -> "-1.00 KiB"."""
    return Rounded(_scaled(value, 1024, BINARY_UNITS), value, "B")


def exact_bytes(value: int) -> str:
    """Every byte, as an option takes them: 25_769_803_776 -> "24GiB", 1_000 -> "1000B"."""
    power = next(power for power in reversed(range(len(BINARY_UNITS))) if value % 1024**power == 0)
    return f"{value // 1024**power}{BINARY_UNITS[power]}"


def format_change(share: float) -> str:
    """A share that is saved, as a change: 0.9428 -> "-94.28 %", -0.5 -> "+50.00 %", 0 -> "0.00 %"."""
    percent = f"{-100 * share:+.2f}"
    return Rounded(f"{percent if float(percent) else '0.00'} %", -share, "%")


def format_growth(share: float) -> str:
    """A change of any size: 0.5 -> "+50.00 %"; one that rounds to nothing has one digit: 0.0000251 -> "+0.003 %"."""
    percent = 100 * share
    if not percent or abs(percent) >= SMALLEST_PERCENT:
        return format_change(-share)
    from decimal import Decimal  # not at start-up: few figures need it

    return Rounded(f"{Decimal(f'{percent:.0e}'):+f} %", share, "%")


def format_ms(value_ms: float) -> str:
    """Four digits: 3.14159 -> "3.14 ms", 65_432 -> "65.43 s"."""
    return Rounded(_scaled(round(value_ms * 1000), 1000, TIME_UNITS), value_ms, "ms")


def format_percent(share: float) -> str:
    """A share of 1 as a percentage: 0.9428 -> "94.28 %"."""
    return Rounded(f"{100 * share:.2f} %", share, "%")


def format_share(share: float, sign: Literal["", "+"] = "") -> str:
    """Like `format_percent`, for any size: 0.00001 -> "<0.01 %", 0.125 -> "12.50 %", 34 -> "3,400 %".

    With the sign "+", positive shares get a plus sign, and one that rounds to nothing has one digit: "+0.003 %".
    """
    percent = 100 * share
    if percent and abs(percent) < SMALLEST_PERCENT:
        return format_growth(share) if sign else f"{'-' if percent < 0 else ''}<{SMALLEST_PERCENT} %"
    return f"{percent:{sign},.{0 if abs(percent) >= LARGE_PERCENT else 2}f} %"


def format_ratio(ratio: float) -> str:
    """A ratio with two decimals: 17.468 -> "17.47x"; a large one in powers of ten."""
    return Rounded(f"{ratio:,.2f}x" if ratio < LARGE_RATIO else f"{ratio:.2e}x", ratio, "x")


def format_size(size: Sequence[int]) -> str:
    """The sides along each axis: (14, 14) -> "14x14", (8, 7, 7) -> "8x7x7"."""
    return "x".join(map(str, size))


def format_side(size: Sequence[int]) -> str:
    """A square by one number: (14, 14) -> "14", (512, 768) -> "512x768", (96, 96, 96) -> "96x96x96"."""
    return str(size[0]) if is_square(size) else format_size(size)


def is_square(size: Sequence[int]) -> bool:
    """Whether a size has two sides, which are equal."""
    return len(size) == 2 and size[0] == size[1]  # noqa: PLR2004 - a height and a width


def format_things(number: int, noun: str) -> str:
    """A number of things: (1, "block") -> "1 block", (2, "block") -> "2 blocks"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_amount(value: float, unit: str) -> str:
    """Four digits of a figure in its unit: (7_247_757_312, "B") -> "6.75 GiB", (0.943, "%") -> "94.30 %"."""
    if value < 0:
        return Rounded(f"-{format_amount(-value, unit)}", value, unit)
    value = int(value) if math.isfinite(value) and value == int(value) else value
    if unit == "ms" and math.isfinite(value):
        return format_ms(value)
    if unit == "%":
        return format_percent(value)
    if unit == "":
        return f"{value:,}" if isinstance(value, int) else Rounded(f"{value:,.4g}", value)
    if unit == "params":
        return Rounded(f"{format_count(value)} params", value, unit)
    return format_bytes(value) if unit == "B" else format_count(value, unit)


def format_exact(value: float, unit: str) -> str:
    """Every digit of a figure: (6_442_450_945, "B") -> "6,442,450,945 B", (0.9434, "%") -> "94.34 %"."""
    if unit == "%":
        from decimal import Decimal  # not at start-up: few figures need it

        return f"{(Decimal(str(value)) * 100).normalize():f} %"
    whole = math.isfinite(value) and value == int(value)
    return f"{int(value) if whole else value:,} {unit}".strip()


def format_excess(unit: str, excess: float, share: float | None) -> str:
    """The distance of a figure from a bound, and its share of the bound if known: "0.75 GiB (12.50 %)".

    The distance of a share is in points: "2.00 points".
    """
    amount = format_apart(unit, excess, 0)[0]
    if unit == "%":
        return amount.replace("%", "points")
    return amount if share is None else f"{amount} ({format_share(share)})"


DIGITS_APART = range(5, 18)
"""The numbers of digits to try until figures look different; a float has at most 17."""


def format_apart(unit: str, *values: float) -> tuple[str, ...]:
    """Figures to compare, in four digits; with more digits if different figures would look the same."""
    short = tuple(format_amount(value, unit) for value in values)
    if len(set(short)) == len(set(values)):
        return short
    for digits in DIGITS_APART:
        shown = [value if value % 1 == 0 else float(f"{value:.{digits}g}") for value in values]
        if len(set(shown)) == len(set(values)):
            return tuple(format_exact(value, unit) for value in shown)
    return tuple(format_exact(value, unit) for value in values)


def ranges(indexes: Sequence[int]) -> str:
    """Indexes with runs as ranges: "0-3, 7"."""
    runs: list[list[int]] = []
    for index in indexes:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def rounded(nbytes: Any) -> Any:
    """The bytes that the allocator takes for `nbytes`, which is a number, an array or a symbol."""
    return -(-nbytes // ALLOCATION_BYTES) * ALLOCATION_BYTES


def _scaled(value: float, step: int, suffixes: Sequence[str]) -> str:
    if value < 0:
        return f"-{_scaled(-value, step, suffixes)}"
    if value < step:
        return f"{value:,} {suffixes[0]}".strip()
    size = float(value)
    for suffix in suffixes[1:]:
        size /= step
        text = f"{size:.2f}"
        if len(text) > len("99.99"):
            text = f"{size:.1f}"
        if len(text) > len("999.9"):  # up to 1,023 of a binary unit
            text = f"{size:.0f}"
        if float(text) < step:
            return f"{int(text):,} {suffix}" if text.isdecimal() else f"{text} {suffix}"
    return f"{size:.2e} {suffixes[-1]}"
