"""The largest window at each resolution that costs at most 5 % more FLOPs than the cheapest, and its padding.

python examples/largest_window.py [PRESET]
"""

import sys

from samattn_cli import Grid, sweep

SIDES, WINDOWS, MORE = (512, 768, 1024, 1536, 2048), tuple(range(4, 33)), 1.05
preset = sys.argv[1] if len(sys.argv) > 1 else "sam_vit_b"

grid = Grid(windows=WINDOWS, resolutions=tuple((side, side) for side in SIDES))
columns = sweep([preset], grid, ["flops"]).columns
flops = columns["flops"].reshape(len(WINDOWS), len(SIDES))  # the last axis varies fastest
padding = columns["padding"].reshape(flops.shape)
for at, side in enumerate(SIDES):
    found = max(window for window in range(len(WINDOWS)) if flops[window, at] <= MORE * flops[:, at].min())
    print(
        f"{side:5}: window {WINDOWS[found]:2}, {flops[found, at]:,} FLOPs, {padding[found, at]:.1%} padding"
    )
