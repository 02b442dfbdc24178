"""CPU seconds and memory of `samattn sweep` with the file that it writes, this tree against a commit in the same run.

    python -m tests.benchmarks.sweep_files 993fb44                    # some minutes on one core
    python -m tests.benchmarks.sweep_files 993fb44 --only swin_t

The commands run one after the other, as typed, under the same interpreter. Seconds are user and system, of the whole process. CSV has to be
equal byte for byte, and Parquet table for table; the exit code is 1 if they are not. "without" hides pyarrow.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.benchmarks.same_reports import ROOT, tree_of

MILLION = "sam_vit_h --resolutions 256:4096:16 --windows 1:64 --batch-sizes 1:64"
"""987,136 points."""
HIDDEN = "import sys; sys.modules['pyarrow'] = None; import importlib.util as u; f = u.find_spec; "
HIDDEN += "u.find_spec = lambda name, *a: None if name == 'pyarrow' else f(name, *a); "
RUN = "import sys; from samattn_cli.cli import run; run()"


class Case(NamedTuple):
    """A command, its file, and the shares of time and of memory that it may take."""

    command: str
    file: str
    time: float
    memory: float = 1.0
    hidden: bool = False


CASES = {
    "flops, parquet": Case(f"{MILLION} --metrics flops", "x.parquet", 0.12),
    "default metrics, parquet": Case(MILLION, "x.parquet", 0.10),
    "flops, csv": Case(f"{MILLION} --metrics flops", "x.csv", 0.25),
    "flops, csv, without": Case(f"{MILLION} --metrics flops", "x.csv", 0.5, hidden=True),
    "swin_t, csv": Case("swin_t --resolutions 224:1200:8 --windows 4:12 --batch-sizes 1:90", "x.csv", 0.4),
    "9.9 million, parquet": Case(
        "sam_vit_h --resolutions 256:4096:8 --windows 1:64 --batch-sizes 1:321 --metrics flops",
        "x.parquet",
        0.12,
        0.4,
    ),
}


def run(tree: Path, folder: Path, case: Case) -> tuple[float, int, Path]:
    """CPU seconds and bytes of a command, and its file."""
    folder.mkdir()
    code = (HIDDEN if case.hidden else "") + RUN
    words = [sys.executable, "-c", code, "sweep", *case.command.split(), "-o", case.file]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    with subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"samattn sweep {case.command} in {tree} exits with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, folder / case.file


def equal(one: Path, two: Path) -> bool:
    """Whether two files have the same content."""
    if one.suffix == ".csv":
        return subprocess.run(["cmp", "-s", one, two], check=False).returncode == 0
    from pyarrow import parquet

    files = [parquet.ParquetFile(path) for path in (one, two)]
    if not files[0].schema_arrow.equals(files[1].schema_arrow):
        return False
    pairs = zip(*(file.iter_batches(batch_size=1 << 16) for file in files), strict=True)
    return all(first.equals(second) for first, second in pairs)


def main() -> int:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit")
    parser.add_argument("--only", default="", help="cases whose names have this")
    options = parser.parse_args()
    differ = False
    print(
        f"{'':28}{'today':>9}{'now':>9}{'ratio':>8}{'target':>8}{'today':>11}{'now':>11}{'ratio':>8}{'target':>8}"
    )
    with tree_of(options.commit) as before, TemporaryDirectory() as work:
        for number, (name, case) in enumerate(CASES.items()):
            if options.only not in name:
                continue
            old, new = (run(tree, Path(work, f"{number}-{tree is ROOT}"), case) for tree in (before, ROOT))
            time, memory = new[0] / old[0], new[1] / old[1]
            same = equal(old[2], new[2])
            differ |= not same
            print(
                f"{name:28}{old[0]:7.2f} s{new[0]:7.2f} s{time:8.3f}{case.time:8.2f}{old[1] / 2**20:7,.0f} MiB"
                f"{new[1] / 2**20:7,.0f} MiB{memory:8.2f}{case.memory:8.2f}{'' if same else '  files differ'}",
                flush=True,
            )
            for _, _, path in (old, new):
                path.unlink()
    return differ


if __name__ == "__main__":
    sys.exit(main())
