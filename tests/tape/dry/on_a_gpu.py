"""A GPU next to its dry run, in minutes: allocated bytes, reserved bytes, the choice of attention kernel.

    python -m tests.tape.dry.on_a_gpu h100           # on a machine with that GPU: a device of `samattn devices`, or a file
    python -m tests.tape.dry.on_a_gpu a100_80 --dry  # without a GPU: a dry run in its place, which shows that the script works

Each case runs on the GPU and dry, with the same torch. Allocated bytes must be equal, without the workspaces that cuDNN's convolutions
take on the GPU: a case that differs is printed with the layers that do. Exits with 1 if one differs. `--quick` runs three cases.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from samattn_cli import load_config, load_device
from samattn_cli.device.dry.environment import environment
from samattn_cli.encoder.model import EncoderConfig
from samattn_cli.reports.recording import Fingerprint, MeasuredCase
from samattn_cli.studies.measure import device_fingerprint, measure_case
from tests.tape.dry.sdpa import LETTERS, WORKER

CASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("vit_b", ()),
    ("vit_b", ("run.mode=training",)),
    ("sam_vit_b", ("run.dtype=bfloat16",)),
    ("sam_vit_b", ()),
    ("sam_vit_b", ("run.mode=training",)),
    ("sam_vit_b", ("run.mode=training", "run.autocast=bfloat16")),
    ("sam_vit_b", ("run.mode=training", "run.dtype=bfloat16", "run.attention=sdpa", "image_size=512")),
    ("sam_vit_b", ("run.mode=training", "run.dtype=bfloat16", "run.attention=fused", "image_size=512")),
    ("swin_t", ("run.mode=training", "run.batch_size=4")),
    ("sam2_hiera_t", ("run.mode=training", "image_size=512")),
    ("sam3_vision", ("image_size=504",)),
)
"""Presets, and what is set in them."""

QUICK = 3

FITS = """
def fits(operand):
    last = operand.offset + sum((n - 1) * step for n, step in zip(operand.shape, operand.stride))
    return (last + 1) * 4 <= memory.nbytes()

def choice(call):
    if not all(map(fits, filter(None, (*call.operands, call.mask)))):
        return "-"
"""
ON_A_GPU = WORKER.replace("1 << 44", "1 << 33").replace("\ndef choice(call):\n", FITS)
"""The calls of `sdpa.py` whose operands fit 8 GiB."""


def compared(config: EncoderConfig, on: str, dry: str) -> tuple[bool, str]:
    """Whether a case allocates the same bytes on both, and a line that says it."""
    real, stub = (measure_case(config, device, repeats=1) for device in (on, dry))
    name = f"{config.name} {config.image_size} {config.run.mode} {config.run.dtype} {config.run.autocast} {config.run.attention}"
    if real.measured is None or stub.measured is None:
        same = real.status == stub.status
        return same, f"{name}: {real.status} {real.message} on the GPU, {stub.status} {stub.message} dry"
    here, there = real.measured, stub.measured
    same = here.peak_allocated_bytes == there.peak_allocated_bytes
    line = (
        f"{name}: allocated {here.peak_allocated_bytes:,}, dry {there.peak_allocated_bytes:,}; "
        f"reserved {here.peak_reserved_bytes:,}, dry {there.peak_reserved_bytes:,}; "
        f"kernels {', '.join(here.attention_kernels) or 'none'}, dry {', '.join(there.attention_kernels) or 'none'}"
    )
    return same, "\n    ".join((line, *layers(real, stub)))


def layers(real: MeasuredCase, stub: MeasuredCase) -> Iterator[str]:
    """The layers whose peaks differ."""
    if real.measured is None or stub.measured is None:
        return
    dry = {(layer.name, layer.phase): layer.peak_bytes for layer in stub.measured.layers}
    for layer in real.measured.layers:
        if (other := dry.get((layer.name, layer.phase))) != layer.peak_bytes:
            yield f"{layer.name} {layer.phase}: {layer.peak_bytes:,}, dry {other:,}"


def choices(variables: dict[str, str]) -> str:
    """A letter for each call of `sdpa_cases.py`: the attention kernel that torch chooses; "-" if it does not fit."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ON_A_GPU],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"attention kernels: {done.stderr}")
    *_, of_names, at_random = json.loads(done.stdout)
    return of_names + at_random


def same_choices(device: str, *, stands_in: bool) -> tuple[bool, str]:
    """Whether torch chooses the same attention kernels on the GPU and dry, and a line that says it."""
    dry = {**environment(load_device(device)), "SAMATTN_DRY_BYTES": str(1 << 48), "SAMATTN_DRY_CONTEXT": "0"}
    here, there = choices(dry if stands_in else {}), choices(dry)
    differ = [number for number, pair in enumerate(zip(here, there, strict=True)) if len(set(pair)) > 1]
    tried = len(here) - here.count("-")
    line = f"attention kernels: {tried:,} calls, {len(differ):,} differ {differ[:10] or ''}"
    return not differ, f"{line} ({', '.join(f'{letter} {name}' for name, letter in LETTERS.items())})"


def describes(made_by: Fingerprint, dry: Fingerprint) -> str:
    """What the device file says otherwise than torch; "" if nothing."""
    names = ("compute_capability", "multiprocessors", "threads_per_multiprocessor", "total_bytes")
    return "; ".join(
        f"{name} {getattr(made_by, name)} on the GPU, {getattr(dry, name)} in the device file"
        for name in names
        if getattr(made_by, name) != getattr(dry, name)
    )


def main() -> None:
    """Compare all cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("device", help="the device file of this machine's GPU, such as h100")
    parser.add_argument("--dry", action="store_true", help="a dry run in the place of the GPU")
    parser.add_argument("--quick", action="store_true", help=f"the first {QUICK} cases only")
    asked = parser.parse_args()
    dry = f"dry:{asked.device}"
    on = dry if asked.dry else "cuda"
    made_by = device_fingerprint(on)
    print(
        f"{made_by}; {describes(made_by, device_fingerprint(dry)) or 'as its device file says'}", flush=True
    )
    results = []
    for preset, sets in CASES[: QUICK if asked.quick else None]:
        same, line = compared(load_config(preset, sets), on, dry)
        results.append(same)
        print(f"{'equal  ' if same else 'DIFFERS'} {line}", flush=True)
    same, line = same_choices(asked.device, stands_in=asked.dry)
    print(f"{'equal  ' if same else 'DIFFERS'} {line}")
    sys.exit(not (all(results) and same))


if __name__ == "__main__":
    main()
