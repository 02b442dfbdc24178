"""Reads the figures of torch's out-of-memory error, in each form that it has been printed.

Source: c10/cuda/CUDACachingAllocator.cpp (before: aten/src/THC/THCCachingAllocator.cpp) of torch 0.4 to 2.14. A size is printed by
`format_size`: bytes up to 1024, else two decimals of KiB, MiB or GiB.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from ...errors import UsageError
from ...records import replace
from ...reports.oom import OomMessage, Printed
from .foreign import is_foreign, refuse_foreign
from .traceback import frames_of

UNITS = {"bytes": 1, "byte": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
SIZE = r"(?P<{0}>\d+(?:\.\d+)?)\s*(?P<{0}_unit>bytes?|[KMGT]iB)"
MOST_BYTES = 1 << 60

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""As Python from 3.13 on, IPython and loggers write them around the words of a traceback."""
STARTS = re.compile(
    r"\b(?P<device>CUDA|HIP) out of memory\.\s*(?=Tried|Allocation)"
    r"|(?<!memory\. )(?=Allocation on device \d* ?would exceed allowed memory)"
)
BARE = re.compile(r"(?=Tried to allocate \d)(?P<device>)")
"""A message without its beginning."""
TRIED = re.compile(
    r"(?:Tried to allocate|Requested size:|Requested\s*:)\s+" + SIZE.format("tried"),
)
FIGURES: dict[str, re.Pattern[str]] = {
    name: re.compile(text)
    for name, text in {
        # torch 0.4 to 2.0: "(GPU 0; 9.77 GiB total capacity; 7.76 GiB already allocated; 1.2 GiB free; ...)"
        # torch 2.1 on: "GPU 0 has a total capacity of 9.77 GiB of which 1.2 GiB is free."
        # the backend cudaMallocAsync: "Currently allocated : 7.76 GiB", a line for each
        "capacity": SIZE.format("x")
        + r"\s+total capacity|total capac(?:i)?ty of\s+"
        + SIZE.format("y")
        + r"|Device limit\s*:\s*"
        + SIZE.format("z"),
        "free": SIZE.format("x")
        + r"\s+free\b|of which\s+"
        + SIZE.format("y")
        + r"\s+is free|Free \(according to CUDA\)\s*:\s*"
        + SIZE.format("z"),
        "allocated": SIZE.format("x")
        + r"\s+already allocated|"
        + SIZE.format("y")
        + r"\s+is allocated by PyTorch|Currently allocated\s*:\s*"
        + SIZE.format("z"),
        "reserved": SIZE.format("x") + r"\s+reserved in total",
        # torch 1.0 to 1.3: "cached" is what the cache has free
        "unallocated": SIZE.format("x") + r"\s+(?:is reserved by PyTorch but unallocated|cached\b)",
        "in_use": r"this process has\s+" + SIZE.format("x") + r"\s+memory in use",
        "allowed": SIZE.format("x") + r"\s+allowed|memory fraction\)\s*:\s*" + SIZE.format("y"),
        "private_pools": r"with\s+" + SIZE.format("x") + r"\s+allocated in private pools",
    }.items()
}
ASYNC = "would exceed allowed memory"
"""The backend cudaMallocAsync, which prints the request, and not a segment."""
OTHERS = re.compile(r"Process \d+ has\s+" + SIZE.format("x") + r"\s+memory in use")
GPU = re.compile(r"\bGPU (?P<gpu>\d+)")
COUNTERS: tuple[tuple[str, str], ...] = (("free", "capacity"), ("allocated", "reserved"))
"""The first cannot be more than the second."""


def is_of_old_form(text: str) -> bool:
    """Whether a text has the error as torch 0.4 to 2.0 print it, whose rules are those of the oldest that is known."""
    return "already allocated" in text


def message_of(text: str) -> OomMessage:
    """The figures of the error in a text, which may be a whole log.

    Raises:
        UsageError: if there is no such error, or errors that differ; or if its figures cannot be.
    """
    text = COLOURS.sub("", text)
    starts = list(STARTS.finditer(text))
    if not starts:
        if not is_foreign(text):
            starts = list(BARE.finditer(text))
        if not starts:
            refuse_foreign(text)
    ends = [match.start() for match in starts[1:]] + [len(text)]
    parts = [" ".join(text[start.start() : end].split()) for start, end in zip(starts, ends, strict=True)]
    errors = [_figures(part, starts[0]["device"]) for part in parts]
    distinct = list(dict.fromkeys((error.tried.text, error.allocated) for error in errors))
    if len({tried for tried, _ in distinct}) > 1:
        raise UsageError(
            "several-messages",
            f"MESSAGE: has {len(distinct)} errors that differ (tried to allocate "
            f"{', '.join(dict.fromkeys(tried for tried, _ in distinct))}); give one of them",
        )
    return _whole(errors[0], ranks=len(distinct), text=text[: starts[0].start()])


def _whole(error: OomMessage, *, ranks: int, text: str) -> OomMessage:
    return replace(error, ranks=ranks, frames=frames_of(text))


def _figures(part: str, device: str) -> OomMessage:
    if "more than 1EB" in part:
        raise UsageError(
            "impossible-figure",
            "MESSAGE: tried to allocate more than 1 EiB: a size overflowed before the allocator was asked, so no memory "
            "would be enough; look for a negative or uninitialised shape",
        )
    match = TRIED.search(part)
    if match is None:
        raise UsageError(
            "no-figure",
            "MESSAGE: does not say how much was tried: give the whole message, such as 'Tried to allocate 1.50 GiB (GPU 0; "
            "9.77 GiB total capacity; 7.76 GiB already allocated; ...)'",
        )
    figures = {name: _first(pattern.search(part)) for name, pattern in FIGURES.items()}
    gpu = GPU.search(part)
    tried = replace(_printed(match["tried"], match["tried_unit"]), is_request=ASYNC in part)
    if (allowed := figures["allowed"]) is not None and allowed.low_bytes > MOST_BYTES:
        figures["allowed"] = None  # no limit is set: 2 to the power of 64 is printed
    error = OomMessage(
        device="HIP" if device == "HIP" else "CUDA",
        gpu=None if gpu is None else int(gpu["gpu"]),
        tried=tried,
        others=tuple(_printed(each["x"], each["x_unit"]) for each in OTHERS.finditer(part)),
        **figures,  # type: ignore[arg-type]
    )
    _check(error)
    return error


def _first(match: re.Match[str] | None) -> Printed | None:
    if match is None:
        return None
    names = match.groupdict()
    name = next(name for name in ("x", "y", "z") if names.get(name))
    return _printed(names[name], names[f"{name}_unit"])


def _printed(number: str, unit: str) -> Printed:
    """The bytes that are printed as this number: half of its last digit to either side."""
    value, size = Decimal(number), UNITS[unit]
    decimals = -int(value.as_tuple().exponent)
    half = Decimal(0) if size == 1 else Decimal(5).scaleb(-decimals - 1)
    low, high = (value - half) * size, (value + half) * size
    text = f"{number} {unit}"
    return Printed(
        text, max(int(low.to_integral_value(ROUND_CEILING)), 0), int(high.to_integral_value(ROUND_FLOOR))
    )


def _check(error: OomMessage) -> None:
    """Check that the figures can be."""
    if error.tried.high_bytes == 0:
        raise UsageError(
            "impossible-figure",
            f"MESSAGE: tried to allocate {error.tried.text}, but no memory is needed for that",
        )
    for printed in filter(None, (error.tried, error.capacity, error.allocated, error.reserved)):
        if printed.low_bytes > MOST_BYTES:
            raise UsageError("impossible-figure", f"MESSAGE: {printed.text} is more than 1 EiB")
    for less, more in COUNTERS:
        low, high = getattr(error, less), getattr(error, more)
        if low is not None and high is not None and low.low_bytes > high.high_bytes:
            raise UsageError(
                "impossible-figure",
                f"MESSAGE: {low.text} {less} is more than {high.text} {more}: check that the message was copied whole",
            )
