"""Encoders of SAM on the dry device, eager and through torch.compile, kept in `compiled.json`.

    python -m tests.tape.dry.compiled                 # with torch's CUDA build; a compiled case takes 5 minutes or more
    python -m tests.tape.dry.compiled sam_vit_b 1     # only this preset and batch size

A case that is in the file is not run again. Next to them stand the rows bf16 and compile of segment-anything-fast
(https://github.com/pytorch-labs/segment-anything-fast, experiments/p4d_results/results_bs1.csv, results_bs1_vit_h.csv,
results_bs8.csv and results_bs8_vit_h.csv), which are of the whole of SAM.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PATH = Path(__file__).with_name("compiled.json")
OLDER = Path(__file__).with_name("compiled_versions.json")
"""See `compiled_versions.py`."""

DEVICE = "a100_80"
MIB = 1 << 20
PUBLISHED = {
    ("sam_vit_b", 1): (1416, 1153),
    ("sam_vit_b", 8): (10003, 7916),
    ("sam_vit_h", 1): (2886, 2832),
    ("sam_vit_h", 8): (14424, 12358),
}
"""Preset, batch size: MiB eager and compiled, in bfloat16."""

HEADER = """\
| encoder | images | eager, MiB | compiled, MiB | compiled / eager | compiled, torch 2.2.2 | published, whole SAM: eager | compiled |
| :-- | --: | --: | --: | --: | --: | --: | --: |
"""


def measured(preset: str, batch: int, *, compiles: bool) -> dict[str, Any]:
    """What `samattn measure` shows of one case."""
    device, options = f"dry:{DEVICE}", ["--dtype", "bfloat16", "--batch-size", str(batch)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.json"
        command = [sys.executable, "-m", "samattn_cli", "measure", preset, "--device", device, *options]
        subprocess.run([*command, *["--compile"] * compiles, "-o", str(path)], check=True)
        return kept(json.loads(path.read_text("utf-8")))


def kept(recording: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a recording with one case."""
    (case,) = recording["cases"]
    return {
        "preset": case["config"]["name"],
        "batch_size": case["config"]["run"]["batch_size"],
        "compiled": recording["fingerprint"].get("compiled", ""),
        "torch": recording["fingerprint"]["torch"],
        "allocated_bytes": case["measured"]["peak_allocated_bytes"],
        "reserved_bytes": case["measured"]["peak_reserved_bytes"],
    }


def runs() -> list[dict[str, Any]]:
    """The cases of the file."""
    return read(PATH)


def read(path: Path) -> list[dict[str, Any]]:
    """The cases of a file, which need not be there."""
    return json.loads(path.read_text("utf-8")) if path.exists() else []


def rows() -> Iterator[str]:
    """The rows of the table in tests/README.md."""
    older = {(run["preset"], run["batch_size"]): run["allocated_bytes"] for run in read(OLDER)}
    found = {(run["preset"], run["batch_size"], run["compiled"]): run["allocated_bytes"] for run in runs()}
    for (preset, batch), (eager_mib, compiled_mib) in PUBLISHED.items():
        eager, compiled = (found.get((preset, batch, mode)) for mode in ("", "default"))
        taken = (eager, compiled, older.get((preset, batch)))
        figures = [f"{nbytes / MIB:,.1f}" if nbytes else "not run" for nbytes in taken]
        ratio = f"{compiled / eager:.3f}" if eager and compiled else ""
        ours = " | ".join([*figures[:2], ratio, figures[2]])
        yield f"| {preset} | {batch} | {ours} | {eager_mib:,} | {compiled_mib:,} |"


def main(preset: str = "", batch: str = "") -> None:
    """Run what is not in the file: all, or those of a preset and a batch size."""
    done = {(run["preset"], run["batch_size"], bool(run["compiled"])) for run in runs()}
    for name, size in PUBLISHED:
        if preset not in {"", name} or batch not in {"", str(size)}:
            continue
        for compiles in (False, True):
            if (name, size, compiles) not in done:
                save([*runs(), measured(name, size, compiles=compiles)])


def save(all_runs: list[dict[str, Any]]) -> None:
    """Write the file, a case on each line."""
    PATH.write_text("[\n" + ",\n".join(map(json.dumps, all_runs)) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
