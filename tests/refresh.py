"""Write anew all that is derived and kept in the repository; look at the diff then.

python -m tests.refresh [outputs] [counts] [memory] [whole_sam] [compiled] [published]

- outputs: goldens, what the pages show, their tables and pictures, the JSON Schema, the page of messages
- counts: parameters and FLOPs of public implementations, in tests/README.md
- memory: memory of public implementations, in tests/README.md
- whole_sam: dry runs of the whole of segment-anything next to published figures, in tests/README.md
- compiled: dry runs of SAM's encoder through torch.compile, in tests/README.md
- published: published figures of memory next to predictions, in README.md and tests/README.md
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
EVIDENCE = ROOT / "tests" / "README.md"


def updating() -> list[str]:
    """The files of tests that write what they compare with if UPDATE_GOLDEN is set."""
    files = (ROOT / "tests").rglob("test_*.py")
    return sorted(str(path.relative_to(ROOT)) for path in files if "    if UPDATE" in path.read_text("utf-8"))


def outputs() -> None:
    """Run the tests that write."""
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", *updating()]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"UPDATE_GOLDEN": "1"}, check=False)


def counts() -> None:
    """Count all public implementations."""
    from tests.public.counts import HEADER, rows  # noqa: PLC0415 - imports transformers

    put_table(EVIDENCE, HEADER, rows())


def memory() -> None:
    """Trace all public implementations."""
    from tests.public.memory import HEADER, lines  # noqa: PLC0415 - imports transformers

    put_table(EVIDENCE, HEADER, lines())


def whole_sam() -> None:
    """Put what `tests.tape.dry.whole_sam` recorded."""
    from tests.tape.dry.whole_sam import HEADER, rows  # noqa: PLC0415

    put_table(EVIDENCE, HEADER, rows())


def compiled() -> None:
    """Put what `tests.tape.dry.compiled` recorded."""
    from tests.tape.dry.compiled import HEADER, rows  # noqa: PLC0415

    put_table(EVIDENCE, HEADER, rows())


def published() -> None:
    """Predict what others published."""
    from tests.public.published_memory import (  # noqa: PLC0415
        HEADER,
        SUMMARY_HEADER,
        UNKNOWN,
        rows,
        summary,
        unknown,
    )

    put_table(ROOT / "README.md", SUMMARY_HEADER, summary())
    put_table(EVIDENCE, HEADER, rows())
    put_table(EVIDENCE, UNKNOWN, unknown())


def put_table(page: Path, header: str, rows: Iterable[str]) -> None:
    """Put other rows under the header of a table of a page."""
    before, header, rest = page.read_text("utf-8").partition(header)
    assert header, f"{page} has no such table"
    _, gap, after = rest.partition("\n\n")
    page.write_text(before + header + "\n".join(rows) + gap + after, "utf-8")


ALL: dict[str, Callable[[], None]] = {
    "outputs": outputs,
    "counts": counts,
    "memory": memory,
    "whole_sam": whole_sam,
    "compiled": compiled,
    "published": published,
}


if __name__ == "__main__":
    asked = sys.argv[1:] or list(ALL)
    if unknown := set(asked) - set(ALL):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(ALL)}")
    for name in asked:
        print(f"refreshing {name}", flush=True)  # noqa: T201
        ALL[name]()
