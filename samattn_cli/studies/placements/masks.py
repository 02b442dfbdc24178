"""All ways to choose some of a number of layers, as bitmasks, in arrays of limited size."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

CHUNK = 1 << 17
"""Masks per array: a megabyte, which stays in a core's cache."""


def masks(layers: int, chosen: int) -> Iterator[Ints]:
    """The masks of `layers` bits of which `chosen` are set, each once, at most `CHUNK` at a time.

    The bits are split into halves: each choice from the upper half is combined with each from the lower half that
    completes the number.
    """
    low = layers // 2
    high = layers - low
    for above in range(max(0, chosen - low), min(high, chosen) + 1):
        lower = _choices(low, chosen - above)
        for part in np.array_split(lower, -(-len(lower) // CHUNK)):
            rows = max(1, CHUNK // len(part))
            upper = _choices(high, above) << low
            for start in range(0, len(upper), rows):
                yield (upper[start : start + rows, None] | part).ravel()


@lru_cache(maxsize=256)
def _choices(layers: int, chosen: int) -> Ints:
    """The masks of `layers` bits of which `chosen` are set: those without the highest bit, then those with it."""
    if not chosen:
        return np.zeros(1, np.int64)
    if chosen > layers:
        return np.zeros(0, np.int64)
    with_highest = _choices(layers - 1, chosen - 1) | (1 << (layers - 1))
    return np.concatenate((_choices(layers - 1, chosen), with_highest))
