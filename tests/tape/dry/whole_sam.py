"""The whole of segment-anything on the dry device, next to published peaks of an A100, kept in `whole_sam.json`.

    python -m tests.tape.dry.whole_sam     # minutes, with torch's CUDA build and segment-anything

The figures are those of segment-anything-fast (https://github.com/pytorch-labs/segment-anything-fast, experiments/results.csv,
results_bs8.csv and p4d_results/results_bs8_vit_h.csv, the rows fp32 and bf16): the most memory that torch 2.2 allocates on an A100, in MiB. Its images are larger than what the encoder
takes and its prompts are points on a grid; here there is one box for each image (points are looked up by their values,
which are garbage in a dry run). The encoder sets the peak.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from samattn_cli import load_device
from samattn_cli.device.dry.environment import environment

PATH = Path(__file__).with_name("whole_sam.json")
DEVICE = "a100_80"
PUBLISHED = {
    ("vit_b", "float32", 1): 2789,
    ("vit_b", "float32", 8): 19934,
    ("vit_h", "float32", 1): 5758,
    ("vit_h", "float32", 8): 28806,
    ("vit_b", "bfloat16", 1): 1416,
    ("vit_b", "bfloat16", 8): 10003,
    ("vit_h", "bfloat16", 1): 2886,
    ("vit_h", "bfloat16", 8): 14424,
}
"""Model, type, batch size: MiB."""

HEADER = """| model | type | images | published, A100, MiB | dry run, MiB | difference |
| :-- | :-- | --: | --: | --: | --: |
"""

WORKER = """
import os, sys
import torch
from segment_anything import sam_model_registry

name, dtype, batch = sys.argv[1], getattr(torch, sys.argv[2]), int(sys.argv[3])
model = sam_model_registry[name]().eval().to("cuda").to(dtype)
model.prompt_encoder.float()  # its coordinates are in float32
torch.cuda.reset_peak_memory_stats()
with torch.no_grad():
    images = torch.empty(batch, 3, 1024, 1024, device="cuda")
    images = ((images - model.pixel_mean) / model.pixel_std).to(dtype)
    embeddings = model.image_encoder(images)
    for each in embeddings:
        box = torch.zeros(1, 4, device="cuda")
        sparse, dense = model.prompt_encoder(points=None, boxes=box, masks=None)
        low, _ = model.mask_decoder(
            image_embeddings=each.unsqueeze(0),
            image_pe=model.prompt_encoder.get_dense_pe().to(dtype),
            sparse_prompt_embeddings=sparse.to(dtype),
            dense_prompt_embeddings=dense.to(dtype),
            multimask_output=True,
        )
        torch.nn.functional.interpolate(low.float(), (1024, 1024), mode="bilinear")
print(torch.__version__, torch.cuda.max_memory_allocated(), flush=True)
os._exit(0)
"""


def allocated(name: str, dtype: str, batch: int) -> tuple[str, int]:
    """The version of torch, and the most bytes that it allocates."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WORKER, name, dtype, str(batch)],
        env=os.environ | environment(load_device(DEVICE)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{name} {dtype} {batch}: {done.stderr}")
    version, nbytes = done.stdout.split()
    return version, int(nbytes)


def rows() -> Iterator[str]:
    """The rows of the table in tests/README.md."""
    for run in json.loads(PATH.read_text("utf-8")):
        mib, published = run["allocated_bytes"] / (1 << 20), run["published_mib"]
        yield (
            f"| {run['model']} | {run['dtype']} | {run['batch_size']} | {published:,} | {mib:,.1f} | "
            f"{mib / published - 1:+.2%} |"
        )


def main() -> None:
    """Run all."""
    runs = []
    for (name, dtype, batch), published in PUBLISHED.items():
        print(f"{name} {dtype} {batch}", file=sys.stderr, flush=True)
        version, nbytes = allocated(name, dtype, batch)
        run = {"model": name, "dtype": dtype, "batch_size": batch, "torch": version, "device": DEVICE}
        runs.append({**run, "published_mib": published, "allocated_bytes": nbytes})
    PATH.write_text("[\n" + ",\n".join(map(json.dumps, runs)) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main()
