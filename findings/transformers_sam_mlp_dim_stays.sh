#!/usr/bin/env bash
# Widen a SAM config.json of transformers by hidden_size, and the MLP keeps its old width, whatever mlp_ratio says
#
# Who meets it: anyone who edits a saved config to plan a wider encoder, or reads the MLP's width as
#   mlp_ratio * hidden_size.
# Versions: transformers 5.24.0, torch 2.13.0.
# Guess: mlp_dim follows: hidden_size 64 and mlp_ratio 4.0 make an MLP of 256.
# Seen: 128, that of the old hidden_size 32, so the ratio is 2 while the config says 4.0. An edit of mlp_ratio alone
#   changes nothing at all. No warning. Without the key mlp_dim both edits work.
# Why: SamVisionConfig derives mlp_dim from mlp_ratio only when it is not given, and a saved config always holds it,
#   since it is written with every derived value.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6 transformers==5.24.0

HF_HUB_OFFLINE=1 venv/bin/python - 2>log >seen <<'PY'
import json

import torch
from transformers import SamVisionConfig, SamVisionModel

SamVisionConfig(
    hidden_size=32, num_hidden_layers=1, num_attention_heads=4, image_size=64, global_attn_indexes=[0]
).save_pretrained(".")
saved = json.loads(open("config.json").read())
for edit in ({}, {"hidden_size": 64}, {"mlp_ratio": 2.0}, {"hidden_size": 64, "mlp_dim": None}):
    config = SamVisionConfig.from_dict(saved | edit)
    with torch.device("meta"):
        model = SamVisionModel(config)
    out, dim = model.state_dict()["vision_encoder.layers.0.mlp.lin1.weight"].shape
    print(edit, f"says {config.mlp_ratio}, is {out / dim:g}: {dim} -> {out}")
PY
diff seen - <<'SEEN'
{} says 4.0, is 4: 32 -> 128
{'hidden_size': 64} says 4.0, is 2: 64 -> 128
{'mlp_ratio': 2.0} says 2.0, is 4: 32 -> 128
{'hidden_size': 64, 'mlp_dim': None} says 4.0, is 4: 64 -> 256
SEEN
