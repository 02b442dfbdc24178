"""ZeroRedundancyOptimizer, which shares the weights out among ranks: each updates its own, and has the state of those alone.

Source: PyTorch 2.14.1, torch/distributed/optim/zero_redundancy_optimizer.py, with its defaults. Weights are not divided. The
largest is shared out first, and each goes to the rank with the fewest numbers so far. After its own step, each rank sends its
weights to the others, one by one. Gradients are DistributedDataParallel's, so that each rank has all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace


def shares(sizes: Sequence[int], ranks: int) -> tuple[tuple[int, ...], ...]:
    """The places of the weights of each rank, in the order in which its optimizer has them.

    Args:
        sizes: how many numbers each weight has, in the order of ``model.parameters()``.
        ranks: how many ranks there are.
    """
    least = [(0, rank) for rank in range(ranks)]
    heapify(least)
    found: list[list[int]] = [[] for _ in range(ranks)]
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        held, rank = least[0]
        found[rank].append(place)
        heapreplace(least, (held + sizes[place], rank))
    return tuple(map(tuple, found))
