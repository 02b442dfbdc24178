"""Why 64 GPUs take more memory each than 8 with FSDP2: SAM ViT-B by torch's own CUDA code, and derived.

    python -m tests.benchmarks.fsdp_ranks          # with torch's CUDA build and a C compiler; about two minutes

Each run of torch is a training step on the dry device over the fake process group. Its time is that of its process, with the
imports; the other time is that of a derivation, in this process. Exits 1 if a peak differs, or if deriving takes more than `MOST` of
the time.
"""

from __future__ import annotations

import sys
import time

from samattn_cli import load_config, load_device
from samattn_cli.encoder.applicable_keys import mapping_of
from samattn_cli.studies.passes import Passes
from samattn_cli.studies.spreading_findings import padded_weights
from tests.tape.dry.many import measured

DEVICE = "a100_80"
RANKS = (8, 64)
MIB = 1 << 20
MOST = 0.1


def main() -> int:
    """Print a line for each number of ranks, and the differences between them."""
    print("SAM ViT-B, FSDP2 of each block and of the encoder, AdamW, float32")
    print(
        f"{'ranks':>5}{'torch, MiB':>12}{'derived':>10}{'torch, s':>10}{'derived':>9}{'ratio':>7}  gathered position embedding"
    )
    peaks, slow, wrong = [], False, False
    for ranks in RANKS:
        config = load_config("sam_vit_b", ["run.mode=training", "run.parallel=fsdp2", f"run.gpus={ranks}"])
        began = time.perf_counter()
        passes = Passes(config, load_device(DEVICE))
        derived = passes.costs.allocated_bytes or 0
        largest = padded_weights(passes)[0]
        derived_s, began = time.perf_counter() - began, time.perf_counter()
        (outcome,) = measured(DEVICE, "", [mapping_of(config)])
        torch_s = time.perf_counter() - began
        of_torch = outcome["measured"]["peak_allocated_bytes"]
        peaks.append(of_torch)
        slow |= derived_s > MOST * torch_s
        wrong |= derived != of_torch
        print(
            f"{ranks:5}{of_torch / MIB:12,.2f}{derived / MIB:10,.2f}{torch_s:10.2f}{derived_s:9.2f}"
            f"{derived_s / torch_s:6.3f}x  {largest.gathered_bytes / MIB:,.0f} MiB of {largest.whole_bytes / MIB:.0f}",
            flush=True,
        )
    print(f"{RANKS[1]} ranks take {(peaks[1] - peaks[0]) / MIB:,.2f} MiB more each than {RANKS[0]}")
    return int(slow or wrong)


if __name__ == "__main__":
    sys.exit(main())
