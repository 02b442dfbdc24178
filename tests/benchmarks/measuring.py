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


class Used(NamedTuple):
    """What a process took: user and system seconds, and the peak of its resident memory."""

    seconds: float
    peak_bytes: int


class Line(NamedTuple):
    """A line of the table.

    Attributes:
        what: what was measured.
        today: the figure of the commit; None if the commit refuses the command.
        now: the figure of this tree.
        unit: the unit of both figures; "x" if they are multiples of a peer that ran in the same run.
        target: the most that `now` is to be: as a share of `today`, or with "x" as a multiple of the peer.
        remark: what else the run showed, such as whether two files are equal.
        peaks: the most resident memory of the commit's processes and of this tree's, in bytes.
        limited: the target is in the unit, as with "x", and not a share of `today`.
        wrong: what is wrong although a figure was measured, such as files that differ; the target is missed then.
    """

    what: str
    today: float | None
    now: float
    unit: str
    target: float
    remark: str = ""
    peaks: tuple[int | None, int] | None = None
    limited: bool = False
    wrong: str = ""

    @property
    def absolute(self) -> bool:
        """Whether the target is a figure, and not a share of `today`."""
        return self.limited or self.unit == "x"

    @property
    def ratio(self) -> float | None:
        """`now` as a share of `today`."""
        return None if self.today is None else self.now / self.today

    @property
    def met(self) -> bool:
        """Whether the target is met, and nothing is wrong."""
        reached = self.now if self.absolute else self.ratio
        return not self.wrong and reached is not None and reached <= self.target


def line(what: str, today: Used, now: Used, target: float, remark: str = "") -> Line:
    """CPU seconds of a process of the commit and of one of this tree, with their memory."""
    return Line(
        what, today.seconds, now.seconds, "s", target, remark, peaks=(today.peak_bytes, now.peak_bytes)
    )


Row = Callable[[Trees], Iterator[Line]]
"""Measures a row of the issue, which may have several lines."""


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


def output(tree: Path, folder: Path, words: Sequence[str]) -> str:
    """What an interpreter with a tree's samattn prints; it has to exit with 0."""
    environment = startup.environment(tree)
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)} in {tree} exits with {done.returncode}:\n{done.stderr}")
    return done.stdout


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
