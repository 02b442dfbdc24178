"""Peak memory of SAM's encoders under each attention kernel, as Markdown: python examples/peaks.py [float32]."""

import sys

from samattn_cli import analyze, load_config

DTYPE = sys.argv[1] if len(sys.argv) > 1 else "float32"
SIZES = (512, 1024, 2048)
KERNELS = ("eager", "sdpa", "fused")


def peaks(preset: str, kernel: str) -> list[str]:
    """GiB of an inference forward and of a training step with AdamW, at each size."""
    cells = []
    for size in SIZES:
        settings = [f"image_size={size}", f"run.attention={kernel}", f"run.dtype={DTYPE}"]
        totals = analyze(load_config(preset, settings), verify=False).totals
        cells.append(f"{totals.peak_bytes / 2**30:.2f} / {totals.training_bytes / 2**30:.2f}")
    return cells


print(f"| {DTYPE}, GiB | kernel | {' | '.join(f'{size} px' for size in SIZES)} |")
print("| :-- | :-- | --: | --: | --: |")
for preset in ("sam_vit_b", "sam_vit_l", "sam_vit_h"):
    for kernel in KERNELS:
        print(f"| {preset} | {kernel} | {' | '.join(peaks(preset, kernel))} |")
