"""Steps of torch's own caching allocator over the dry device, kept in `allocator.json`: requests, frees and what it counted.

python -m tests.tape.dry.allocator     # a few seconds, with torch's CUDA build
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from samattn_cli import load_device
from samattn_cli.device.dry.environment import environment

PATH = Path(__file__).with_name("allocator.json")
SETTINGS = (
    "",
    "roundup_power2_divisions:4",
    "max_split_size_mb:64",
    "roundup_power2_divisions:1",
    "max_split_size_mb:20,roundup_power2_divisions:8",
    "garbage_collection_threshold:0.5",
    "expandable_segments:True",
    "expandable_segments:True,roundup_power2_divisions:4",
)
CAPACITY = 1_000 << 20

WORKER = """
import json, os, random, sys
import torch
torch.cuda.init()
real = torch.cuda
sequences = []
for seed in range(8):
    rng, live, steps = random.Random(seed), {}, []
    real.empty_cache()
    real.reset_peak_memory_stats()
    edges = [1, 512, 513, 1 << 20, (1 << 20) + 1, 10 << 20, (10 << 20) - 511, 19 << 20, 21 << 20]
    for number in range(150):
        if live and rng.random() < 0.47:
            gone = rng.choice(sorted(live))
            real.caching_allocator_delete(live.pop(gone))
            step = -gone - 1
        elif rng.random() < 0.01:
            real.empty_cache()
            step = 0
        else:
            step = rng.choice(edges) if rng.random() < 0.3 else int(2 ** rng.uniform(8, 28.5))
            try:
                live[number] = real.caching_allocator_alloc(step)
            except torch.OutOfMemoryError:
                pass
        counted = torch._C._cuda_memoryStats(0)
        peaks = [counted[f"{key}_bytes"]["all"][when] for key in ("allocated", "reserved") for when in ("current", "peak")]
        steps.append([step, *peaks])
    for pointer in live.values():
        real.caching_allocator_delete(pointer)
    sequences.append(steps)
print(json.dumps(sequences), flush=True)
os._exit(0)
"""


def main() -> None:
    """Record all."""
    device = {
        **environment(load_device("a100_80")),
        "SAMATTN_DRY_BYTES": str(CAPACITY),
        "SAMATTN_DRY_CONTEXT": "0",
    }
    found = {}
    for setting in SETTINGS:
        variables = os.environ | device | {"PYTORCH_ALLOC_CONF": setting, "PYTORCH_CUDA_ALLOC_CONF": setting}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", WORKER],
            env=variables,
            capture_output=True,
            text=True,
            check=True,
        )
        found[setting] = json.loads(done.stdout)
    lines = (f"{json.dumps(setting)}: {json.dumps(steps)}" for setting, steps in found.items())
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
