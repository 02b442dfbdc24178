"""Time and memory of `samattn analyze` against its peers, side by side in one run.

    python tests/benchmarks/analyze.py            # all; about four minutes on two cores
    python tests/benchmarks/analyze.py --quick    # without plain fvcore, which runs the arithmetic

Each figure is the median wall time (and the largest peak of resident memory) of fresh processes, taken in turns so
that a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

SAMATTN = [sys.executable, "-m", "samattn_cli", "analyze"]
IMPORT_CLI = "import typer, rich.table, yaml, pydantic"
IMPORT_TORCH = "import torch, fvcore.nn"
BUILD = """
import logging, torch
from samattn_cli import load_config
from samattn_cli.stack.encoder import build, image_for
config = load_config("sam_vit_h")
logging.disable(logging.WARNING)
"""
BY_FVCORE = f"""{BUILD}
from fvcore.nn import FlopCountAnalysis
model, image = build(config), image_for(config)
with torch.no_grad():
    print(f"{{int(FlopCountAnalysis(model, image).total()):,}} MACs, LayerNorm at 5 included")
"""
BY_FLOP_COUNTER = f"""{BUILD}
from torch.utils.flop_counter import FlopCounterMode
model, image = build(config), image_for(config)
with torch.no_grad(), FlopCounterMode(display=False) as counter:
    model(image)
print(f"{{counter.get_total_flops():,}} FLOPs")
"""
OURS = """
from samattn_cli import analyze, load_config
report = analyze(load_config("sam_vit_h"), verify=True)
print(f"{report.crosscheck.fvcore.total:,} MACs by fvcore, {report.totals.flops:,} FLOPs, {report.crosscheck.status}")
"""


@dataclass
class Case:
    """A command, and what its runs took."""

    name: str
    command: list[str]
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    output: str = ""

    def run(self) -> None:
        """Run it once."""
        start = time.perf_counter()
        with subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        ) as process:
            self.output = process.stdout.read().decode().strip() if process.stdout else ""
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds.append(time.perf_counter() - start)
        self.peak_bytes = max(self.peak_bytes, usage.ru_maxrss * 1024)
        if process.returncode:
            sys.exit(f"{self.name} failed with {process.returncode}")

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def python(code: str) -> list[str]:
    """A fresh interpreter that runs `code`."""
    return [sys.executable, "-c", code]


def compare(title: str, peer: Case, cases: list[Case], runs: int) -> None:
    """Run the peer and the cases in turns and print the ratios."""
    everyone = [peer, *cases]
    for case in everyone:
        case.run()  # to warm the caches; it does not count
        case.seconds.clear()
    for _ in range(runs):
        for case in everyone:
            case.run()
    print(f"\n{title}")
    for case in everyone:
        ratio = case.median / peer.median
        print(f"  {case.name:58} {case.median:7.2f} s  {ratio:5.2f}x  {case.peak_bytes / 1e6:7,.0f} MB")


def by_others(*, quick: bool) -> None:
    """The same totals, as a user would script them."""
    cases = [
        Case("analyze() with the cross-check", python(OURS)),
        Case("FlopCounterMode on real tensors", python(BY_FLOP_COUNTER)),
    ]
    cases += [] if quick else [Case("fvcore on real tensors", python(BY_FVCORE))]
    print("\nThe totals of ViT-H at 1024, and what they cost to get (one run each)")
    for case in cases:
        case.run()
        print(f"  {case.name:34} {case.median:7.2f} s  {case.peak_bytes / 1e6:7,.0f} MB  {case.output}")


def main() -> None:
    """Print every comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="leave plain fvcore out")
    parser.add_argument("--runs", type=int, default=5, help="runs of each command (5)")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {shutil.which('python')}")
    compare(
        "Without the cross-check (at most 2x)",
        Case(IMPORT_CLI, python(IMPORT_CLI)),
        [Case("samattn analyze sam_vit_h --no-verify", [*SAMATTN, "sam_vit_h", "--no-verify"])],
        runs=3 * options.runs,
    )
    compare(
        "With the cross-check (at most 2.5x and 1,000 MB)",
        Case(IMPORT_TORCH, python(IMPORT_TORCH)),
        [
            Case("samattn analyze sam_vit_h", [*SAMATTN, "sam_vit_h"]),
            Case(
                "samattn analyze sam_vit_h --image-size 4096", [*SAMATTN, "sam_vit_h", "--image-size", "4096"]
            ),
        ],
        runs=options.runs,
    )
    by_others(quick=options.quick)


if __name__ == "__main__":
    main()
