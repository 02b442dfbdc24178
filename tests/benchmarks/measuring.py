"""What the rows of `tests.benchmarks.table` share: two trees, whole commands in fresh processes, and a line of the table."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.benchmarks import startup


class Trees(NamedTuple):
    """The package of the commit and that of this tree, each with its bytecode, and an empty folder to run commands in.

    Attributes:
        before: the commit.
        now: this tree.
        work: where commands run, and write their files.
    """

    before: Path
    now: Path
    work: Path


class Line(NamedTuple):
    """A line of the table.

    Attributes:
        what: what was measured.
        today: the figure of the commit.
        now: the figure of this tree.
        unit: the unit of both figures; "x" if they are multiples of a peer that ran in the same run.
        target: the most that `now` is to be: as a share of `today`, or with "x" as a multiple of the peer.
        remark: what else the run showed, such as whether two files are equal.
    """

    what: str
    today: float
    now: float
    unit: str
    target: float
    remark: str = ""

    @property
    def reached(self) -> float:
        """What the target is compared with."""
        return self.now if self.unit == "x" else self.now / self.today


Row = Callable[[Trees], Iterator[Line]]
"""Measures a row of the issue, which may have several lines."""


class Used(NamedTuple):
    """What a process took: user and system seconds, and the peak of its resident memory."""

    seconds: float
    peak_bytes: int


def run(tree: Path, folder: Path, words: Sequence[str], exits: Sequence[int] = (0,)) -> Used:
    """Run an interpreter with a tree's samattn; another exit code than `exits` ends the benchmark.

    Nothing is kept from one run to the next, such as the verdict of a cross-check.
    """
    written = folder / "stderr.txt"
    with (
        TemporaryDirectory() as cache,
        written.open("w") as errors,
        subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env=startup.environment(tree) | {"XDG_CACHE_HOME": cache},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        ) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in exits:
        sys.exit(f"{' '.join(words)} in {tree} exits with {process.returncode}:\n{written.read_text()}")
    return Used(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def command(*words: str) -> list[str]:
    """The words for an interpreter that runs a command of samattn."""
    return ["-m", "samattn_cli", *words]


def in_turns(runs: int, *processes: Callable[[], Used]) -> list[Used]:
    """The median seconds and the highest peak of each process, run in turns, so that a busy machine slows all alike."""
    used = [[process() for process in processes] for _ in range(runs)]
    return [
        Used(statistics.median(each.seconds for each in of_one), max(each.peak_bytes for each in of_one))
        for of_one in zip(*used, strict=True)
    ]
