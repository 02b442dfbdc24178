"""The Python API: which of some windows is the cheapest for SAM's ViT-B at a resolution, and by how much.

python examples/api.py 1024
"""

from __future__ import annotations

import sys

from samattn_cli import analyze, load_config

WINDOWS = (7, 8, 12, 14, 16, 20)


def main(image_size: int) -> None:
    """Print a line a window, the cheapest first."""
    size = f"image_size={image_size}"
    reports = {
        window: analyze(load_config("sam_vit_b", [size, f"window_size={window}"]), verify=False)
        for window in WINDOWS
    }
    for window, report in sorted(reports.items(), key=lambda item: item[1].totals.flops):
        layer = report.layers[0]
        ratio = report.comparison.vs_all_global.flops_ratio
        print(
            f"window {window:2}: {report.totals.flops / 1e9:7.1f} GFLOP, {ratio:.2f}x cheaper than all global, "
            f"grid {layer.grid[0]} padded to {layer.padded_grid[0]}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1024)
