"""The short form of the table, for CI: the calls that commands make, against those that are kept in `short.json`.

    python -m tests.benchmarks.short             # calls and bounds of this tree
    python -m tests.benchmarks.short --write     # keep the calls of this tree; say in the commit why they changed

Seconds say little on a busy machine, and CI has neither valgrind nor counters of instructions. Calls of functions, in Python
and in C, are the same in each run: a pass that is made twice, an import that came back and a loop over points that were columns
show in them. Work inside one call, such as a larger array, does not. A command may make `ROOM` times the calls that are kept: in
all, of samattn's own functions, and of the Tape's, since a third of all are imports. Where torch runs, its own calls do not count:
they change with its version.

A command without torch runs in an interpreter of its own, so that its imports count. One with torch is forked from the process
that has imported it (`tests/support/forking.py`).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.benchmarks.check import commit
from tests.benchmarks.same_reports import ROOT
from tests.benchmarks.startup import environment
from tests.support.running import samattn

KEPT = Path(__file__).with_suffix(".json")
ROOM = 1.3
CHECKED = 2, 3, 4
"""Depths of the configs of a check."""


PARTS = {"all": "", "samattn": "/samattn_cli/", "tape": "/samattn_cli/tape/"}
"""What the file of a function has in its path."""


class Case(NamedTuple):
    """A command, the files that it needs, its exit code, and whether it needs torch."""

    command: str
    prepare: Callable[[Path], None] = lambda _: None
    exits: int = 0
    torch: bool = False


def _configs(folder: Path) -> None:
    (folder / "encoders").mkdir()
    for depth in CHECKED:
        text = f"extends: sam_vit_b\ndepth: {depth}\nglobal_attn_indexes: [1]\n"
        (folder / "encoders" / f"{depth}.yaml").write_text(text, "utf-8")
    rules = ("{id: flops, metric: flops, limit: 1 PFLOP}", "{id: peak, metric: peak_memory, limit: 1 TiB}")
    _thresholds(folder, *rules)


def _thresholds(folder: Path, *rules: str) -> None:
    lines = ["version: 1", 'configs: ["encoders/*.yaml"]', "rules:", *(f"  - {rule}" for rule in rules), ""]
    (folder / "samattn.yaml").write_text("\n".join(lines), "utf-8")


def _changed(folder: Path) -> None:
    _configs(folder)
    _thresholds(folder, '{id: growth, metric: flops, vs: base, increase: "+0"}')
    commit(folder)
    for path in (folder / "encoders").iterdir():
        path.write_text(path.read_text("utf-8") + "in_chans: 4\n", "utf-8")


def _small(folder: Path) -> None:
    (folder / "small.yaml").write_text(
        "extends: sam_vit_b\nimage_size: 64\ndepth: 3\nglobal_attn_indexes: [2]\n", "utf-8"
    )


CASES: Mapping[str, Case] = {
    "help": Case("--help"),
    "configs": Case("configs"),
    "analyze": Case("analyze sam_vit_h --no-verify"),
    "analyze-qwen": Case("analyze qwen2_5_vl_vision --no-verify"),
    "fit": Case("fit small.yaml --memory 64MiB --vary batch-size --mode inference --attention sdpa", _small),
    "search": Case("compare-placements small.yaml --search 2", _small),
    "sweep": Case("sweep small.yaml --resolutions 64 --batch-sizes 1:5000 --metrics flops -o x.csv", _small),
    "check": Case("check", _configs),
    "check-base": Case("check --base main", _changed, exits=1),
    "verify": Case("verify small.yaml", _small, torch=True),
}


class Called(NamedTuple):
    """How often a command called functions.

    Attributes:
        parts: in all (without torch), of samattn, and of the Tape.
        most: the functions that were called most, with their numbers.
    """

    parts: dict[str, int]
    most: list[str]

    def beyond(self, kept: Mapping[str, int]) -> list[str]:
        """The parts that make more calls than there is room for, with their numbers."""
        return [
            f"{part}: {self.parts[part]:,} calls, {self.parts[part] / number:.2f}x the {number:,} that are kept"
            for part, number in kept.items()
            if self.parts[part] > ROOM * number
        ]


def calls(name: str, planted: str = "") -> Called:
    """How often a command calls functions; `planted` is code that runs before it."""
    case = CASES[name]
    with TemporaryDirectory() as work, TemporaryDirectory() as place:
        case.prepare(Path(work))
        told = Path(place, "calls.txt")
        ran = (_forked if case.torch else _fresh)(case.command.split(), Path(work), told, planted)
        assert ran.returncode == case.exits, (
            f"{case.command} exits with {ran.returncode}: {ran.stdout}{ran.stderr}"
        )
        lines = told.read_text("utf-8").splitlines()
    found = [(int(number), function) for number, _, function in (line.partition(" ") for line in lines)]
    parts = {part: sum(number for number, at in found if folder in at) for part, folder in PARTS.items()}
    if case.torch:
        del parts["all"]
    return Called(parts, lines[:10])


def _fresh(words: list[str], folder: Path, told: Path, planted: str) -> subprocess.CompletedProcess[str]:
    program = f"""
import sys
from tests.support.counting import count_calls
def command():
    exec({planted!r}, {{}})
    from samattn_cli.cli import run
    run()
sys.argv = ["samattn", *sys.argv[1:]]
count_calls(command, {str(told)!r})
"""
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(
        command, cwd=folder, env=environment(ROOT), capture_output=True, text=True, check=False
    )


def _forked(words: list[str], folder: Path, told: Path, planted: str) -> subprocess.CompletedProcess[str]:
    assert not planted, "no code runs in a fork before its command"
    return samattn(*words, cwd=folder, told=told)


def kept() -> dict[str, dict[str, int]]:
    """The calls that commands made when they were last looked at, by part."""
    return dict(json.loads(KEPT.read_text("utf-8")))


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Print the calls of each command, and keep them with `--write`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="keep the calls of this tree")
    parser.add_argument("--only", default=",".join(CASES), help=f"commands: {', '.join(CASES)}")
    options = parser.parse_args()
    before = kept() if KEPT.exists() else {}
    now: dict[str, Called] = {}
    print(f"{'calls':22}{'kept':>11}{'now':>11}{'ratio':>8}{'at most':>9}")
    for name in options.only.split(","):
        calls(name)  # writes bytecode
        began = _seconds()
        now[name] = calls(name)
        print(f"{name}, {_seconds() - began:.2f} CPU s")
        for part, number in now[name].parts.items():
            old = before.get(name, {}).get(part)
            ratio = f"{number / old:8.3f}{ROOM:9.2f}" if old else ""
            print(f"  {part:20}{old or '-':>11}{number:>11}{ratio}", flush=True)
    if options.write:
        KEPT.write_text(
            json.dumps(before | {name: called.parts for name, called in now.items()}, indent=2) + "\n"
        )
    return int(any(called.beyond(before.get(name, {})) for name, called in now.items()))


if __name__ == "__main__":
    sys.exit(main())
