"""How many more instructions `samattn analyze` takes with a device, whose allocator it replays, than without one.

    python -m tests.benchmarks.on_device           # about four minutes on one core

Instructions are counted as in `startup.py`. Exits 1 if a ratio is above `MOST`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.same_reports import ROOT
from tests.benchmarks.startup import copied, instructions

ENCODERS = ("sam_vit_h", "swin_b", "sam2_hiera_l")
MODES = ("inference", "training")
DEVICE = "a100_80"
MOST = 1.3


def main() -> int:
    """Print a line for each encoder and mode."""
    print(f"{'instructions, in millions':26}{'without':>9}{DEVICE:>9}{'ratio':>8}")
    ratios = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        tree = copied(ROOT, folder)
        for encoder in ENCODERS:
            for mode in MODES:
                command = ["analyze", encoder, "--no-verify", "--mode", mode]
                without = instructions(tree, folder, command)
                on_device = instructions(tree, folder, [*command, "--device", DEVICE])
                ratios.append(on_device / without)
                print(
                    f"{f'{encoder} {mode}':26}{without / 1e6:9,.0f}{on_device / 1e6:9,.0f}{ratios[-1]:7.2f}x",
                    flush=True,
                )
    return int(max(ratios) > MOST)


if __name__ == "__main__":
    sys.exit(main())
