"""A long line drawn by a few of its points, so that it looks the same."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence


def thin(xs: Sequence[float], ys: Sequence[float], most: int) -> list[int]:
    """Indices of at most `most` points, ascending: both ends, and the lowest and highest in each bucket of the axis.

    `xs` ascend. Buckets are equally wide on the axis as it is drawn (logarithmic where every x is positive), so that
    no peak and no cliff is lost by more than a bucket's width.
    """
    if len(xs) <= most:
        return list(range(len(xs)))
    kept = {0, len(xs) - 1}
    for bucket in _buckets(xs, (most - 2) // 2):
        kept.add(min(bucket, key=ys.__getitem__))
        kept.add(max(bucket, key=ys.__getitem__))
    return sorted(kept)


def _buckets(xs: Sequence[float], count: int) -> Iterator[range]:
    """The points in each of `count` equal parts of the axis, where there are any."""
    along, back = (math.log, math.exp) if xs[0] > 0 else (float, float)
    low, high = along(xs[0]), along(xs[-1])
    edges = [back(low + (high - low) * number / count) for number in range(1, count)]
    cuts = [0, *(bisect_left(xs, edge) for edge in edges), len(xs)]
    yield from (range(start, stop) for start, stop in itertools.pairwise(cuts) if start < stop)
