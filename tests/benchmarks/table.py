"""Each row of issue 20 in one run: today (a commit), now (this tree), their ratio, the target, and the memory of both.

    python -m tests.benchmarks.table                            # against 993fb44; every row
    python -m tests.benchmarks.table 8ebdc47 --only analyze,help
    python -m tests.benchmarks.table -o table.md                # as Markdown, too

The tree of the commit is made from git. Both trees run under this interpreter, whose packages are compared with those that the
commit pins. A row is seconds of CPU (user and system), bytes, or instructions (counted by valgrind), always of whole commands
as typed. With unit "x" the figures are multiples of a peer, named in the remark, that ran in the same run. The last columns are
the peaks of resident memory. A row that fails is shown as such, and the others go on. Exits 1 if a target is missed or a row failed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from samattn_cli.cli.files import replace_file
from tests.benchmarks import layout, rows_forward, rows_search, rows_sweep
from tests.benchmarks.machine import heading
from tests.benchmarks.measuring import Line, Row, Trees
from tests.benchmarks.same_reports import ROOT, tree_of
from tests.benchmarks.startup import copied

TODAY = "993fb44"
ROWS: Mapping[str, Row] = rows_sweep.ROWS | rows_search.ROWS | rows_forward.ROWS
"""In the order of the issue."""


class Failed(str):
    """Why a row was not measured."""

    __slots__ = ()


Measured = Line | Failed


def measured(rows: Mapping[str, Row], trees: Trees) -> Iterator[Measured]:
    """The lines of each row; a row that fails gives the reason in place of those that it did not reach."""
    began = time.monotonic()
    for at, (name, row) in enumerate(rows.items(), 1):
        print(
            f"[{at}/{len(rows)}] {name}, after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True
        )
        try:
            yield from row(trees)
        except (Exception, SystemExit) as reason:  # noqa: BLE001 - the other rows are still measured
            yield Failed(f"{name}: {reason or type(reason).__name__}".strip())


def told(lines: Iterable[Measured]) -> Iterator[Measured]:
    """Print lines as they come."""
    print(layout.HEADER)
    for each in lines:
        print(layout.failed(each) if isinstance(each, Failed) else layout.drawn(each), flush=True)
        yield each


def total(lines: Sequence[Measured]) -> str:
    """How many targets are met."""
    failed = sum(isinstance(each, Failed) for each in lines)
    met = sum(isinstance(each, Line) and each.met for each in lines)
    return f"{met} of {len(lines) - failed} targets are met" + (f"; {failed} rows failed" if failed else "")


def markdown(heads: Sequence[str], lines: Sequence[Measured]) -> str:
    """The table as a page."""
    rows = [
        layout.failed_in_markdown(each) if isinstance(each, Failed) else layout.in_markdown(each)
        for each in lines
    ]
    return "\n".join([*heads, "", *layout.MARKDOWN_HEADER, *rows, "", f"{total(lines)}.", ""])


def asked(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; a file that could not be written is refused before anything is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", nargs="?", default=TODAY)
    parser.add_argument("--only", default=",".join(ROWS), help=f"rows: {', '.join(ROWS)}")
    parser.add_argument("-o", "--output", type=Path, help="a Markdown file, written when all is measured")
    options = parser.parse_args(words)
    options.only = options.only.split(",")
    if unknown := [name for name in options.only if name not in ROWS]:
        parser.error(f"not a row: {', '.join(unknown)}; rows: {', '.join(ROWS)}")
    if options.output and not options.output.resolve().parent.is_dir():
        parser.error(f"{options.output}: the folder does not exist")
    return options


def main() -> int:
    """Print the table, each line as soon as it is measured."""
    options = asked()
    with tree_of(options.commit) as before, TemporaryDirectory() as copy, TemporaryDirectory() as work:
        trees = Trees(before, copied(ROOT, Path(copy)), Path(work))
        heads = heading(options.commit, before)
        print("\n".join(heads), flush=True)
        lines = list(told(measured({name: ROWS[name] for name in options.only}, trees)))
    print(total(lines))
    if options.output:
        replace_file(options.output, markdown(heads, lines).encode())
    return int(any(isinstance(each, Failed) or not each.met for each in lines))


if __name__ == "__main__":
    sys.exit(main())
