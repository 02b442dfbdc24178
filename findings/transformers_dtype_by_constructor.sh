#!/usr/bin/env bash
# From one config with dtype bfloat16, AutoModel makes bfloat16 weights and the model's own class float32 ones
#
# Who meets it: anyone who builds an encoder from a released config.json, without weights, to measure its memory.
# Versions: transformers 5.24.0, torch 2.13.0.
# Guess: a model made from a config alone is in float32, torch's default; dtype matters when weights are loaded.
# Seen: AutoModel.from_config follows the config's dtype, SamVisionModel(config) ignores it, so get_memory_footprint
#   differs by a factor of two. model.config.dtype still says bfloat16 until save_pretrained writes float32 to both.
# Why: from_config goes through _from_config, which sets torch's default dtype to the config's while the model is made.
#   A plain call of the class does not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6 transformers==5.24.0

HF_HUB_OFFLINE=1 venv/bin/python - 2>log >seen <<'PY'
import json
from pathlib import Path

from transformers import AutoModel, SamVisionConfig, SamVisionModel, SwinConfig, SwinModel

sam = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 64}
swin = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "image_size": 56}
for config_class, model_class, sizes in (
    (SamVisionConfig, SamVisionModel, sam),
    (SwinConfig, SwinModel, swin),
):
    for name, make in (("AutoModel.from_config", AutoModel.from_config), (model_class.__name__, model_class)):
        model = make(config_class(**sizes, dtype="bfloat16"))
        size = model.get_memory_footprint(return_buffers=False) / model.num_parameters()
        print(f"{name}: {model.dtype}, {size:g} bytes a parameter, its config says {model.config.dtype}", end=", ")
        model.save_pretrained("saved")
        print("saved as", json.loads(Path("saved/config.json").read_text())["dtype"])
PY
diff seen - <<'SEEN'
AutoModel.from_config: torch.bfloat16, 2 bytes a parameter, its config says torch.bfloat16, saved as bfloat16
SamVisionModel: torch.float32, 4 bytes a parameter, its config says torch.bfloat16, saved as float32
AutoModel.from_config: torch.bfloat16, 2 bytes a parameter, its config says torch.bfloat16, saved as bfloat16
SwinModel: torch.float32, 4 bytes a parameter, its config says torch.bfloat16, saved as float32
SEEN
