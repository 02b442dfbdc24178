#!/usr/bin/env bash
# LW-DETR's config divides pixels by windows, and its model divides tokens: one refuses sizes that run, and takes one that fails
#
# Who meets it: anyone who changes image_size, patch_size or num_windows of an LW-DETR backbone (samattn: num_windows_side).
# Versions: transformers 5.24.0, torch 2.13.0.
# Guess: the config checks that the grid of tokens is divided by the side of windows, which is what the reshape needs.
# Seen: it checks image_size / num_windows by the side. 768 px with 3x3 windows (a grid of 48) and 400 px with 5x5 (a grid of
#   25) are refused, and run once image_size is set afterwards. 192 px with a patch of 32 (a grid of 6) and 4x4 windows is
#   accepted, and its forward fails.
# Why: validate_architecture knows no patch_size. The blocks view the grid as (side, grid / side, side, grid / side).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6 transformers==5.24.0

HF_HUB_OFFLINE=1 venv/bin/python - 2>log >seen <<'PY'
import torch
from transformers import LwDetrViTConfig
from transformers.models.lw_detr.modeling_lw_detr import LwDetrViTBackbone

small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "window_block_indices": [0], "out_indices": [2]}


def outcome(config, size):
    try:
        maps = LwDetrViTBackbone(config).eval()(torch.zeros(1, 3, size, size)).feature_maps
    except RuntimeError as error:
        return f"its forward fails: {type(error).__name__}"
    return f"its forward gives {tuple(maps[0].shape)}"


for windows, patch, size in ((16, 16, 256), (9, 16, 768), (25, 16, 400), (16, 32, 192)):
    side = int(windows**0.5)
    what = f"{size} px, patch {patch}, grid {size // patch}, {side}x{side} windows"
    try:
        config = LwDetrViTConfig(**small, image_size=size, patch_size=patch, num_windows=windows)
    except Exception as error:
        config = LwDetrViTConfig(**small, image_size=windows * side * patch, patch_size=patch, num_windows=windows)
        config.image_size = size
        print(f"{what}: refused; set afterwards, {outcome(config, size)}")
    else:
        print(f"{what}: accepted; {outcome(config, size)}")
PY
diff seen - <<'SEEN'
256 px, patch 16, grid 16, 4x4 windows: accepted; its forward gives (1, 32, 16, 16)
768 px, patch 16, grid 48, 3x3 windows: refused; set afterwards, its forward gives (1, 32, 48, 48)
400 px, patch 16, grid 25, 5x5 windows: refused; set afterwards, its forward gives (1, 32, 25, 25)
192 px, patch 32, grid 6, 4x4 windows: accepted; its forward fails: RuntimeError
SEEN
