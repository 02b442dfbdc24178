"""Time and memory of a sweep over a million points, against asking for each point by itself.

    python tests/benchmarks/sweep.py

Three processes, one after the other. The sweep is whole; a loop of `analyze` and one of FlopCounterMode on the meta device
are run at 20 of its points, evenly chosen, and extrapolated to all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

SIDES, WINDOWS, BATCHES = range(64, 8193, 16), range(2, 33), range(1, 65)
POINTS = len(SIDES) * len(WINDOWS) * len(BATCHES)
LIMITS = 2.0, 1e9
"""Seconds and bytes that a million points may take."""
SAMPLE = 20

CHOSEN = f"""
import itertools, time
points = list(itertools.product({SIDES!r}, {WINDOWS!r}, {BATCHES!r}))
chosen = [points[at * len(points) // {SAMPLE}] for at in range({SAMPLE})]
keys = [[f"image_size={{side}}", f"window_size={{window}}", f"run.batch_size={{batch}}"] for side, window, batch in chosen]
"""
SWEEP = f"""
import time
began = time.perf_counter()
from samattn_cli.studies.grid import Grid
from samattn_cli.studies.sweep import sweep
sides = tuple((side, side) for side in {SIDES!r})
grid = Grid(resolutions=sides, windows=tuple({WINDOWS!r}), batch_sizes=tuple({BATCHES!r}))
ready = time.perf_counter()
report = sweep(["sam_vit_b"], grid, METRICS)
print(time.perf_counter() - ready, ready - began)
"""
ANALYZE = f"""{CHOSEN}
from samattn_cli import analyze, load_config
analyze(load_config("sam_vit_b"), verify=False)
began = time.perf_counter()
for key in keys:
    analyze(load_config("sam_vit_b", key), verify=False)
print(time.perf_counter() - began)
"""
COUNTED = f"""{CHOSEN}
import logging, torch
from torch.utils.flop_counter import FlopCounterMode
from samattn_cli import load_config
from samattn_cli.stack.encoder import build, image_for
logging.disable(logging.WARNING)
def count(key):
    config = load_config("sam_vit_b", key)
    model, image = build(config, "meta"), image_for(config, "meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops()
count([])
began = time.perf_counter()
for key in keys:
    count(key)
print(time.perf_counter() - began)
"""


def run(code: str) -> tuple[list[float], int]:
    """What a fresh interpreter prints, and the most memory that it held."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as process:
        printed = process.stdout.read().decode() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed with {process.returncode}")
    return [float(word) for word in printed.split()], usage.ru_maxrss * 1024


def main() -> None:
    """Print every comparison."""
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    print(
        f"sam_vit_b over {POINTS:,} points: {len(SIDES)} resolutions x {len(WINDOWS)} windows x {len(BATCHES)} batches"
    )
    seconds, limit = 0.0, LIMITS
    for metrics in (["flops"], ["flops", "attention_bytes", "peak_bytes"]):
        runs = [run(SWEEP.replace("METRICS", repr(metrics))) for _ in range(3)]
        seconds = sorted(found[0] for found, _ in runs)[1]
        peak = max(nbytes for _, nbytes in runs)
        name = f"sweep of {', '.join(metrics)}"
        print(
            f"  {name:58} {seconds:12.2f} s  {peak / 1e6:5,.0f} MB  (at most {limit[0]} s, {limit[1] / 1e6:,.0f} MB)"
        )
    for name, code in (
        ("analyze, each point", ANALYZE),
        ("FlopCounterMode on meta, each point, FLOPs alone", COUNTED),
    ):
        (sampled,), peak = run(code)
        whole = sampled / SAMPLE * POINTS
        print(
            f"  {name:58} {whole:12,.0f} s  {peak / 1e6:5,.0f} MB  {whole / seconds:9,.0f}x  "
            f"(extrapolated from {SAMPLE} points in {sampled:.2f} s)"
        )


if __name__ == "__main__":
    main()
