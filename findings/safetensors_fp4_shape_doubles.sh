#!/usr/bin/env bash
# safetensors writes an fp4 weight with twice the columns that torch gives it, and cannot slice it back
#
# Who meets it: anyone who reads parameter counts or layer widths from a safetensors header, without torch, for an
#   encoder in MXFP4 or NVFP4.
# Versions: safetensors 0.8.0, torch 2.13.0.
# Guess: the header holds torch's shape, as it does for every other dtype.
# Seen: torch.float4_e2m1fn_x2 of shape (2, 4) stands in the header as F4 of shape [2, 8]. load_file gives (2, 4) again.
#   safe_open's get_slice says [2, 8] and raises on any slice. So numel says 8 before and after, and the header 16.
# Why: torch's dtype packs two values into an element and its shape counts the packed elements. The format counts
#   values of 4 bits. save_file and load_file double and halve the last dimension, get_slice does not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6 safetensors==0.8.0 packaging==26.4

venv/bin/python - >seen <<'PY'
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

for dtype in (torch.float8_e4m3fn, torch.float4_e2m1fn_x2):
    weight = torch.zeros(2, 4, dtype=torch.uint8).view(dtype)
    save_file({"w": weight}, "w.safetensors")
    raw = Path("w.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["w"]
    print(dtype, "torch", list(weight.shape), "header", header["dtype"], header["shape"], header["data_offsets"])
    print("  load_file", list(load_file("w.safetensors")["w"].shape))
    with safe_open("w.safetensors", "pt") as file:
        rows = file.get_slice("w")
        print("  get_slice", rows.get_shape())
        try:
            print("  rows[:1]", list(rows[:1].shape))
        except RuntimeError as error:
            print("  rows[:1] RuntimeError:", error)
PY
diff seen - <<'SEEN'
torch.float8_e4m3fn torch [2, 4] header F8_E4M3 [2, 4] [0, 8]
  load_file [2, 4]
  get_slice [2, 4]
  rows[:1] [1, 4]
torch.float4_e2m1fn_x2 torch [2, 4] header F4 [2, 8] [0, 8]
  load_file [2, 4]
  get_slice [2, 8]
  rows[:1] RuntimeError: shape '[2, 8]' is invalid for input of size 8
SEEN
