"""How many instructions commands take, this tree against a commit.

    python -m tests.benchmarks.startup 8ebdc47                  # every command; about five minutes on one core
    python -m tests.benchmarks.startup 8ebdc47 --only analyze,fit

Instructions are what `valgrind --tool=cachegrind` counts over the whole process, from the start of the interpreter to its
end. Unlike seconds, they are the same on a busy machine: two runs of a command differ by less than 0.1 %. Each tree is
copied and its bytecode is written first; hashes are not random. Exits 1 if a command takes more than before.

The last columns have the instructions as a multiple of `import typer, rich.table, yaml, pydantic`, counted in the same run,
and the target of issue 20 for it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.same_reports import ROOT, tree_of

COMMANDS = {
    "help": ["--help"],
    "configs": ["configs"],
    "analyze-qwen": ["analyze", "qwen2_5_vl_vision", "--no-verify"],
    "analyze": ["analyze", "sam_vit_h", "--no-verify"],
    "analyze-device": ["analyze", "sam_vit_h", "--no-verify", "--device", "a100_80"],
    "analyze-training": ["analyze", "swin_t", "--no-verify", "--set", "run.mode=training"],
    "sweep": ["sweep", "sam_vit_h", "--resolutions", "512,1024"],
    "check": ["check"],
    "fit": ["fit", "sam_vit_h", "--memory", "24GiB"],
    "explain": ["explain", "sam_vit_h"],
    "diff": ["diff", "sam_vit_b", "sam_vit_h"],
    "compare-placements": ["compare-placements", "sam_vit_b"],
}
LIBRARIES = "import typer, rich.table, yaml, pydantic"
TARGETS = {"help": 0.8, "configs": 1.3, "analyze": 1.3, "analyze-qwen": 1.6}
"""The most instructions that a command is to take, as a multiple of those of `LIBRARIES`."""
THRESHOLDS = """\
version: 1
configs: [encoder.yaml]
rules:
  - {id: flops, metric: flops, limit: 10 TFLOPs}
  - {id: fits, metric: peak_memory, limit: 24 GiB}
"""
COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")


def environment(tree: Path) -> dict[str, str]:
    """The variables of a run: samattn of the tree, hashes that are the same in each run, bytecode that is written."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}


def run(tree: Path, folder: Path, words: Sequence[str], *, counter: Sequence[str] = ()) -> str:
    """What an interpreter writes on standard error with a tree's samattn; it has to exit with 0."""
    done = subprocess.run(
        [*counter, sys.executable, *words],
        cwd=folder,
        env=environment(tree),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)} in {tree} exits with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stderr


def instructions(tree: Path, folder: Path, words: Sequence[str]) -> int:
    """Instructions that an interpreter takes, its bytecode written before."""
    run(tree, folder, words)
    valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    written = run(tree, folder, words, counter=valgrind)
    found = COUNTED.search(written)
    if found is None:
        sys.exit(f"valgrind counted nothing:\n{written}")
    return int(found[1].replace(",", ""))


def copied(tree: Path, folder: Path) -> Path:
    """A copy of the package of a tree, for its bytecode."""
    shutil.copytree(
        tree / "samattn_cli", folder / "samattn_cli", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(tree / "configs", folder / "configs")
    return folder


def compare(before: Path, now: Path, folder: Path, names: Sequence[str]) -> bool:
    """Print a line for each command; whether one takes more than before."""
    libraries = instructions(now, folder, ["-c", LIBRARIES])
    print(f"{LIBRARIES}: {libraries / 1e6:,.0f} million instructions")
    print(f"{'in millions':24}{'before':>9}{'now':>9}{'ratio':>8}{'of libraries':>14}{'target':>8}")
    slower = False
    for name in names:
        words = ["-m", "samattn_cli", *COMMANDS[name]]
        old, new = (instructions(tree, folder, words) for tree in (before, now))
        slower |= new > old
        multiples = f"{old / libraries:.2f} -> {new / libraries:.2f}"
        figures = f"{old / 1e6:9,.0f}{new / 1e6:9,.0f}{new / old:8.3f}{multiples:>14}"
        print(f"{name:24}{figures}{TARGETS.get(name, ''):>8}", flush=True)
    return slower


def main() -> int:
    """Compare this tree with a commit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit")
    parser.add_argument("--only", default=",".join(COMMANDS), help=f"commands: {', '.join(COMMANDS)}")
    options = parser.parse_args()
    with tree_of(options.commit) as before, TemporaryDirectory() as copy, TemporaryDirectory() as work:
        Path(work, "samattn.yaml").write_text(THRESHOLDS, encoding="utf-8")
        Path(work, "encoder.yaml").write_text("extends: sam_vit_h\n", encoding="utf-8")
        return compare(before, copied(ROOT, Path(copy)), Path(work), options.only.split(","))


if __name__ == "__main__":
    sys.exit(main())
