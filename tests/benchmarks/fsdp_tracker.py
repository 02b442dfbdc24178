"""FSDP2's peak of a rank by torch's FSDPMemTracker, next to ours, with the time of each.

    python -m tests.benchmarks.fsdp_tracker [PRESET] [SETTING ...]     # with torch's CUDA build, over the dry device

The tracker follows the real encoder over the dry device, on a fake process group. It counts tensors, as our live bytes do: no workspaces, nothing
that operators take inside, no rests of blocks. So ours is shown in three sums: live, with softmax's temporary and the
workspaces, and what the allocator takes in all.
"""

from __future__ import annotations

import time
from typing import Any

from samattn_cli import load_config, load_device
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.studies.on_device import cuda_of
from samattn_cli.tape.allocator import MIB
from samattn_cli.tape.replay import replay_step
from samattn_cli.tape.training import training_step

from .dry import DEVICE, over_the_dry_device


def tracked(config: EncoderConfig) -> tuple[dict[str, float], float]:
    """The parts of the peak of the second step in MiB by the tracker's names, and the seconds that the tracker took."""
    import torch
    from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker

    from samattn_cli.stack.step import Step

    step = Step(config, "cuda")
    start = time.perf_counter()
    tracker = FSDPMemTracker(step.model, step.optimizer)
    tracker.track_inputs((step.image,))
    with tracker:
        for number in range(2):
            if number:
                tracker.reset_mod_stats()
            outputs = step.model(step.image)
            sum(each.sum() for each in (outputs if isinstance(outputs, tuple) else (outputs,))).backward()
            step.optimizer.step()
            step.optimizer.zero_grad()
            del outputs
    took = time.perf_counter() - start
    snapshots = tracker.get_tracker_snapshot("peak")
    peak = next(kinds for device, kinds in snapshots.items() if device.type == "cuda")
    names = {getattr(kind, "value", kind): nbytes / MIB for kind, nbytes in peak.items()}
    assert torch.cuda.is_available()
    return names, took


def ours(config: EncoderConfig) -> tuple[Any, int, float, float]:
    """The replay, live bytes, and the seconds of each."""
    cuda = cuda_of(load_device(DEVICE))
    assert cuda is not None
    start = time.perf_counter()
    step = training_step(config)
    live = step.peak_bytes
    between = time.perf_counter()
    used = replay_step(step, cuda)
    return used, live, between - start, time.perf_counter() - between


def main(preset: str = "sam_vit_b", *sets: str) -> None:
    """Print both."""
    own = sets or ("run.parallel=fsdp2", "run.gpus=8")
    config = load_config(preset, ["run.mode=training", *own])
    used, live, live_s, replay_s = ours(config)
    names, took = tracked(config)
    print(preset, *own)
    print(
        "FSDPMemTracker:",
        *(f"{name} {nbytes:,.1f}" for name, nbytes in names.items() if nbytes),
        f"in {took:.1f} s",
    )
    inside = live + used.kinds.workspaces
    print(
        f"ours: live {live / MIB:,.1f}, with workspaces {inside / MIB:,.1f}, allocated {used.allocated / MIB:,.1f}"
    )
    print(f"in {live_s:.3f} s (live bytes), {replay_s:.3f} s (allocator); at {used.at}")


if __name__ == "__main__":
    over_the_dry_device(__spec__.name, main)
