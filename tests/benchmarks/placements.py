"""Time and memory of searching every placement of sam_vit_h's global layers, against a pass for each.

    python tests/benchmarks/placements.py    # about a minute on two cores

Each search runs in a process of its own, whose peak of resident memory is shown. "table" is learning what each layer adds
(eight passes), "search" the search itself, "in all" the report with a real pass for each placement of the front. The loop
runs the passes of 20 placements, as `analyze` does, and is extrapolated from them to all.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from itertools import combinations, islice
from math import comb

from samattn_cli import load_config
from samattn_cli.studies.flow import flow_of, windowed_flow
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.placements.budget import METRICS
from samattn_cli.studies.placements.compare import compare
from samattn_cli.studies.placements.exhaustive import asked
from samattn_cli.studies.placements.placing import movable, placed
from samattn_cli.studies.placements.search import Question, search
from samattn_cli.studies.placements.table import table_of

PRESET = "sam_vit_h"
CASES = ((4, "flops"), (4, "training_memory"), (8, "flops"), (8, "training_memory"))
SAMPLE = 20


def run(number: int, cost: str) -> dict[str, float]:
    """One search: seconds of its parts, and what it found."""
    config = load_config(PRESET)
    layers, flow = movable(config), windowed_flow(config)
    start = time.perf_counter()
    table = table_of(config, layers, flow.mixing, training=cost == "training_memory")
    learnt = time.perf_counter()
    question = Question(METRICS[cost], (), "peak_bytes", flow.depth, flow.first_full_context)
    found = search(table, [number], question)
    searched = time.perf_counter()
    report = compare(config, search=asked(str(number), None, cost)).search
    done = time.perf_counter()
    assert report is not None
    assert [point.ties for point in found.front] == [row.ties for row in report.front]
    return {
        "placements": found.searched,
        "front": len(found.front),
        "table_s": learnt - start,
        "search_s": searched - learnt,
        "in_all_s": done - searched,
        "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def loop() -> float:
    """Seconds of the passes of one placement, from 20 of them spread over all."""
    config = load_config(PRESET)
    layers = movable(config)
    step = comb(32, 4) // SAMPLE  # those of four, whichever number is searched: a pass takes as long
    sample = list(islice(combinations(layers, 4), 0, None, step))[:SAMPLE]
    start = time.perf_counter()
    for chosen in sample:
        made = placed(config, chosen)
        _ = Passes(made).figures, flow_of(made)
    return (time.perf_counter() - start) / SAMPLE


def main() -> None:
    """Run all, one after the other."""
    if len(sys.argv) > 1:
        print(json.dumps(run(int(sys.argv[1]), sys.argv[2])))
        return
    each = loop()
    print(
        f"a loop of passes: {1e3 * each:.1f} ms a placement (of {SAMPLE}; all else of the loop is extrapolated)"
    )
    for number, cost in CASES:
        ran = subprocess.run(
            [sys.executable, __file__, str(number), cost], capture_output=True, text=True, check=True
        )
        took = json.loads(ran.stdout)
        looped = each * took["placements"]
        print(
            f"C(32,{number}) = {took['placements']:,} by {cost}: table {took['table_s']:.2f} s, search "
            f"{took['search_s']:.2f} s, in all {took['in_all_s']:.2f} s, {took['rss_bytes'] / 2**20:.0f} MiB, front "
            f"{took['front']}; the loop would take {looped:,.0f} s, {looped / took['in_all_s']:,.0f} times as long"
        )


if __name__ == "__main__":
    main()
