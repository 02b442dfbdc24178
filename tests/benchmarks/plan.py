"""The time of `samattn plan` for hundreds of choices, next to that of torch's FSDPMemTracker for one of them.

    python -m tests.benchmarks.plan [PRESET]     # with torch's CUDA build, over the dry device

The plan is of 8 GPUs and a global batch of 64. The tracker follows FSDP2's step of one image (see `fsdp_tracker.py`).
"""

from __future__ import annotations

import time

from samattn_cli import load_config, load_device

from .dry import DEVICE, over_the_dry_device
from .fsdp_tracker import tracked


def main(preset: str = "sam_vit_b") -> None:
    """Print both times and their ratio."""
    from samattn_cli.studies.plan import Goal, plan

    start = time.process_time()
    report = plan(
        load_config(preset, ["run.mode=training"]), [load_device(DEVICE)], Goal(gpus=8, global_batch=64)
    )
    ours = time.process_time() - start
    count = len(report.choices)
    print(
        f"{preset}: a plan of {count} choices in {ours:.1f} CPU s, {ours / count * 1e3:.1f} ms each",
        flush=True,
    )
    start = time.process_time()
    tracked(load_config(preset, ["run.mode=training", "run.parallel=fsdp2", "run.gpus=8"]))
    theirs = time.process_time() - start
    print(f"FSDPMemTracker: one of them in {theirs:.1f} CPU s")
    print(f"500 choices take {500 * ours / count / theirs:.2f} of the tracker's time for one")


if __name__ == "__main__":
    over_the_dry_device(__spec__.name, main)
