"""Rows of issue 20 about sweeps: CPU seconds and memory of whole commands with the file that they write.

A row is missed if the commit and this tree do not write the same: CSV byte for byte, and Parquet table for table. "without" hides
pyarrow, which both use if it is installed.
"""

from __future__ import annotations

import filecmp
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.measuring import Line, Row, Trees, Used, in_turns, line, run

MILLION = "sam_vit_h --resolutions 256:4096:16 --windows 1:64 --batch-sizes 1:64"
"""987,136 points."""
MILLIONS = "sam_vit_h --resolutions 256:4096:8 --windows 1:64 --batch-sizes 1:321 --metrics flops"
"""9,881,664 points."""
SWIN = "swin_t --resolutions 224:1200:8 --windows 4:12 --batch-sizes 1:90"
"""99,630 points."""
HIDDEN = "import sys; sys.modules['pyarrow'] = None; import importlib.util as u; f = u.find_spec; "
HIDDEN += "u.find_spec = lambda name, *a: None if name == 'pyarrow' else f(name, *a); "
COMPARED = """
import sys
from pyarrow import parquet

files = [parquet.ParquetFile(path) for path in sys.argv[1:]]
same = files[0].schema_arrow.equals(files[1].schema_arrow) and files[0].metadata.num_rows == files[1].metadata.num_rows
pairs = zip(*(file.iter_batches(batch_size=1 << 16) for file in files), strict=True)
sys.exit(not (same and all(first.equals(second) for first, second in pairs)))
"""
RUN = "import sys; from samattn_cli.cli import run; run()"


class Case(NamedTuple):
    """A sweep and its file, and the most time and memory that it is to take; no `memory` is no line about it."""

    what: str
    words: str
    file: str
    time: float
    memory: float | None = None
    hidden: bool = False
    runs: int = 1


def _row(case: Case, trees: Trees) -> Iterator[Line]:
    """Time and memory of a case; the bytecode of both trees is written before."""
    folders = [trees.work / f"sweep{number}" for number in range(2)]
    for tree, folder in zip(trees[:2], folders, strict=True):
        folder.mkdir(exist_ok=True)
        run(tree, folder, ["-m", "compileall", "-q", str(tree / "samattn_cli")])
    pairs = zip(trees[:2], folders, strict=True)
    old, new = in_turns(case.runs, *(partial(_run, case, tree, folder) for tree, folder in pairs))
    files = [folder / case.file for folder in folders]
    wrong = "" if _equal(*files) else "the files differ"
    timed = line(f"sweep: {case.what}", old, new, case.time, "" if wrong else "equal files")
    yield timed._replace(wrong=wrong)
    if case.memory is not None:
        yield Line("the same, peak memory", old.peak_bytes, new.peak_bytes, "B", case.memory)
    for file in files:
        file.unlink()


def _run(case: Case, tree: Path, folder: Path) -> Used:
    code = (HIDDEN if case.hidden else "") + RUN
    return run(tree, folder, ["-c", code, "sweep", *case.words.split(), "-o", case.file])


def _equal(one: Path, two: Path) -> bool:
    """Whether two files have the same content.

    Tables are compared in another process: Linux counts the memory of a process as that of each program that it starts.
    """
    if one.suffix == ".csv":
        return filecmp.cmp(one, two, shallow=False)
    return subprocess.run([sys.executable, "-c", COMPARED, one, two], check=False).returncode == 0


CASES = {
    "sweep-flops": Case("987,136 points, flops, Parquet", f"{MILLION} --metrics flops", "x.parquet", 0.12),
    "sweep-default": Case("the same, default metrics", MILLION, "x.parquet", 0.10),
    "sweep-csv": Case("the same, flops, CSV with pyarrow", f"{MILLION} --metrics flops", "x.csv", 0.25, 1.0),
    "sweep-csv-without": Case(
        "the same without pyarrow", f"{MILLION} --metrics flops", "x.csv", 0.5, 1.0, hidden=True
    ),
    "sweep-memory": Case("9,881,664 points, flops, Parquet", MILLIONS, "x.parquet", 0.12, 0.4),
    "sweep-swin": Case("swin_t, 99,630 points, default metrics", SWIN, "x.csv", 0.4, runs=3),
}
ROWS: dict[str, Row] = {name: partial(_row, case) for name, case in CASES.items()}
