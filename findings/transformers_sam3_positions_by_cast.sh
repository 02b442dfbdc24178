#!/usr/bin/env bash
# SAM 3's positions are exact in a model built in bfloat16, and rounded in one that is cast to bfloat16
#
# Who meets it: anyone who runs SAM 3's vision encoder of transformers in bfloat16, and counts bytes or compares outputs.
# Versions: transformers 5.24.0, torch 2.13.0.
# Guess: from_pretrained(dtype="bfloat16") and model.to(torch.bfloat16) make the same model, which 5.23.0 did.
# Seen: built in bfloat16, the position ids of each layer stay float32, and the model keeps twice their bytes. Cast to
#   bfloat16, they are rounded by up to a 24th of a position, because those of global layers are thirds.
# Why: 5.24.0 makes them with dtype=torch.float, whatever torch's default dtype is. They are a buffer that is not saved, so
#   loading leaves them, and Module.to casts every floating-point buffer.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6 transformers==5.24.0

HF_HUB_OFFLINE=1 venv/bin/python - 2>log >seen <<'PY'
import torch
from transformers import Sam3ViTConfig, Sam3ViTModel

config = Sam3ViTConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, global_attn_indexes=[1])
exact = Sam3ViTModel(config).layers[1].position_ids
for name, model in (
    ("built", Sam3ViTModel._from_config(config, dtype=torch.bfloat16)),
    ("cast", Sam3ViTModel(config).to(torch.bfloat16)),
):
    ids = model.layers[1].position_ids
    off = (ids.float() - exact).abs().max().item()
    print(f"{name}: weights {model.dtype}, positions {ids.dtype}, {ids.nbytes} bytes, off by up to {off:.4f}")
PY
diff seen - <<'SEEN'
built: weights torch.bfloat16, positions torch.float32, 41472 bytes, off by up to 0.0000
cast: weights torch.bfloat16, positions torch.bfloat16, 20736 bytes, off by up to 0.0417
SEEN
