"""Time and memory of searching every placement of sam_vit_h's global layers, against a pass for each.

    python tests/benchmarks/placements.py    # about a minute on two cores

Each search runs in a process of its own, whose peak of resident memory is shown. "table" is learning what each layer adds
(eight passes), "search" the search itself, "in all" the report with a real pass for each placement of the front. The loops
run 20 placements, by the passes that `analyze` makes and by FlopCounterMode on the real stack on the meta device, and are
extrapolated from them to all.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import combinations, islice
from math import comb

from samattn_cli import EncoderConfig, load_config
from samattn_cli.encoder.placed import placed
from samattn_cli.studies.flow import flow_of, windowed_flow
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.placements.budget import METRICS
from samattn_cli.studies.placements.compare import compare_placements
from samattn_cli.studies.placements.exhaustive import asked
from samattn_cli.studies.placements.placing import movable
from samattn_cli.studies.placements.points import Question
from samattn_cli.studies.placements.search import search
from samattn_cli.studies.placements.table import table_of

PRESET = "sam_vit_h"
CASES = ((4, "flops"), (4, "training_memory"), (8, "flops"), (8, "training_memory"))
SAMPLE = 20
COUNTER = "counter"


def run(number: int, cost: str) -> dict[str, float]:
    """One search: seconds of its parts, and what it found."""
    config = load_config(PRESET)
    layers, flow = movable(config), windowed_flow(config)
    start = time.perf_counter()
    table = table_of(config, layers, flow, training=cost == "training_memory")
    learnt = time.perf_counter()
    question = Question(METRICS[cost], (), "peak_bytes")
    found = search(table, config.name, [number], question)
    searched = time.perf_counter()
    report = compare_placements(config, search=asked(str(number), None, cost)).search
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


def sample() -> list[EncoderConfig]:
    """Placements of four, spread over all: whichever number is searched, a pass takes as long."""
    config = load_config(PRESET)
    step = comb(32, 4) // SAMPLE
    chosen = islice(combinations(movable(config), 4), 0, None, step)
    return [placed(config, layers) for layers in chosen][:SAMPLE]


def by_passes(config: EncoderConfig) -> None:
    """What a placement costs and how information flows, from passes of its own."""
    _ = Passes(config).figures, flow_of(config)


def by_counter(config: EncoderConfig) -> None:
    """What FlopCounterMode counts of a placement: its FLOPs alone."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from samattn_cli.stack.encoder import build, image_for

    model, image = build(config, "meta"), image_for(config, "meta")
    with torch.no_grad(), FlopCounterMode(display=False):
        model(image)


def seconds_each(once: Callable[[EncoderConfig], None]) -> float:
    """The time of one placement, after one that pays for what is first."""
    configs = sample()
    once(configs[0])
    start = time.perf_counter()
    for config in configs:
        once(config)
    return (time.perf_counter() - start) / len(configs)


def of_its_own(*arguments: str) -> str:
    """What this script prints in a process of its own, so that its peak of memory is its own too."""
    ran = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return ran.stdout


def main() -> None:
    """Run all, one after the other."""
    if sys.argv[1:] == [COUNTER]:
        print(seconds_each(by_counter))
        return
    if len(sys.argv) > 1:
        print(json.dumps(run(int(sys.argv[1]), sys.argv[2])))
        return
    passes, counter = seconds_each(by_passes), float(of_its_own(COUNTER))
    print(
        f"a placement by its own passes {1e3 * passes:.1f} ms, by FlopCounterMode on meta {1e3 * counter:.1f} ms"
    )
    print(f"(each of {SAMPLE}, from which loops over all are extrapolated)")
    for number, cost in CASES:
        took = json.loads(of_its_own(str(number), cost))
        loops = [each * took["placements"] for each in (passes, counter)]
        ratios = [f"{whole:,.0f} s ({whole / took['in_all_s']:,.0f}x)" for whole in loops]
        print(
            f"C(32,{number}) = {took['placements']:,} by {cost}: table {took['table_s']:.2f} s, search "
            f"{took['search_s']:.2f} s, in all {took['in_all_s']:.2f} s, {took['rss_bytes'] / 2**20:.0f} MiB, front "
            f"{took['front']}; loops {ratios[0]}, {ratios[1]}"
        )


if __name__ == "__main__":
    main()
