"""Rows of issue 20 about many encoders: sweeps, searches, checks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.benchmarks.measuring import Line, Row, Trees, command, in_turns, run


def _of_today(what: str, target: float, *words: str, runs: int = 1) -> Row:
    """CPU seconds of a command, as a share of what the commit takes."""

    def row(trees: Trees) -> Iterator[Line]:
        old, new = in_turns(runs, *(partial(run, tree, trees.work, command(*words)) for tree in trees[:2]))
        yield Line(what, old.seconds, new.seconds, "s", target)

    return row


ROWS: dict[str, Row] = {
    "fit-swin": _of_today(
        "fit swin_l_384 --device rtx_4090", 0.2, "fit", "swin_l_384", "--device", "rtx_4090"
    ),
}
