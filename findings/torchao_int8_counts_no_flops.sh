#!/usr/bin/env bash
# torchao's int8 layers count 0 FLOPs by FlopCounterMode, and their weights the bytes of float32
#
# Who meets it: anyone who quantizes an encoder with torchao and counts it again to see what was won: torch's FlopCounterMode for
#   its FLOPs, and numel() * element_size() (or nbytes) over its parameters for its memory.
# Versions: torch 2.13.0, torchao 0.18.0, on a CPU.
# Guess: with dynamic int8 activations the linear layers count nothing, since FlopCounterMode has no formula for an integer product.
#   With int8 weights alone they count in full. Bytes of the parameters are a quarter.
# Seen: FLOPs as guessed: 1,849,688,064 become 0 with int8 activations and stay with int8 weights alone. Bytes not: each parameter
#   still says float32, 4 bytes a number and 9,437,184 bytes, and so does its untyped_storage(). Its tensors qdata and scale
#   have 2,359,296 and 12,288 bytes. A saved state dict is a quarter as large.
# Why: torchao's product is aten._int_mm, which torch/utils/flop_counter.py does not list. Its weight is a wrapper subclass, whose
#   type and size are those that the layer sees, and whose storage was never allocated.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 torchao==0.18.0 numpy==2.4.6

venv/bin/python - >seen 2>/dev/null <<'PY'
import copy
import io

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_

mlp = nn.Sequential(nn.Linear(768, 3072), nn.GELU(), nn.Linear(3072, 768)).eval().requires_grad_(False)
tokens = torch.zeros(196, 768)
for name, config in (("float32", None), ("weights", Int8WeightOnlyConfig()), ("both", Int8DynamicActivationInt8WeightConfig())):
    model = copy.deepcopy(mlp)
    if config is not None:
        quantize_(model, config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(tokens)
    weight = model[0].weight
    print(f"{name}: {counter.get_total_flops()} FLOPs, {sum(p.numel() * p.element_size() for p in model.parameters())} bytes")
    print(f"  first weight: {weight.dtype}, {weight.nbytes} bytes, storage {weight.untyped_storage().nbytes()}")
    if config is not None:
        print(f"  held in: {weight.qdata.dtype} {weight.qdata.nbytes}, {weight.scale.dtype} {weight.scale.nbytes}")
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    print(f"  saved: about {round(len(file.getvalue()) / 2**20)} MiB")
PY
diff seen - <<'SEEN'
float32: 1849688064 FLOPs, 18889728 bytes
  first weight: torch.float32, 9437184 bytes, storage 9437184
  saved: about 18 MiB
weights: 1849688064 FLOPs, 18889728 bytes
  first weight: torch.float32, 9437184 bytes, storage 9437184
  held in: torch.int8 2359296, torch.float32 12288
  saved: about 5 MiB
both: 0 FLOPs, 18889728 bytes
  first weight: torch.float32, 9437184 bytes, storage 9437184
  held in: torch.int8 2359296, torch.float32 12288
  saved: about 5 MiB
SEEN
