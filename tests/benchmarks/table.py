"""Each row of issue 20 in one run: today (a commit), now (this tree), their ratio, the target.

    python -m tests.benchmarks.table                            # against 993fb44; every row
    python -m tests.benchmarks.table 8ebdc47 --only analyze,help

The tree of the commit is made from git, and both run under this interpreter. A row is seconds of CPU (user and system), bytes,
or instructions (counted by valgrind), always of whole commands as typed. With unit "x" the figures are multiples of a peer, named
in the remark, that ran in the same run. Exits 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks import rows_forward, rows_search
from tests.benchmarks.measuring import Line, Row, Trees
from tests.benchmarks.same_reports import ROOT, tree_of
from tests.benchmarks.startup import copied

TODAY = "993fb44"
ROWS: Mapping[str, Row] = rows_forward.ROWS | rows_search.ROWS


def drawn(line: Line) -> str:
    """A line as text."""
    what = f"{line.what:62}{line.today:10.3f}{line.now:10.3f} {line.unit:4}"
    ratio = f"{line.now / line.today:8.3f}{line.target:8.2f}"
    return f"{what}{ratio}  {'met' if line.reached <= line.target else 'missed':7} {line.remark}".rstrip()


def main() -> int:
    """Print the table, each line as soon as it is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", nargs="?", default=TODAY)
    parser.add_argument("--only", default=",".join(ROWS), help=f"rows: {', '.join(ROWS)}")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"not a row: {', '.join(unknown)}")
    missed = False
    with tree_of(options.commit) as before, TemporaryDirectory() as copy, TemporaryDirectory() as work:
        trees = Trees(before, copied(ROOT, Path(copy)), Path(work))
        print(f"{'':62}{'today':>10}{'now':>10}     {'ratio':>8}{'target':>8}")
        for name in names:
            for line in ROWS[name](trees):
                print(drawn(line), flush=True)
                missed |= line.reached > line.target
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
