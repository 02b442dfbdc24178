#!/usr/bin/env bash
# DeepSpeed's ZeRO estimate trains a frozen encoder, and sees only the last weight of a model on meta
#
# Who meets it: anyone who plans the fine-tuning of a frozen SAM encoder (a decoder, adapters, LoRA) with
#   estimate_zero3_model_states_mem_needs_all_live, or who passes a model on the meta device to avoid its weights.
# Versions: deepspeed 0.19.8, torch 2.13.0.
# Guess: 16 bytes a trained parameter on one GPU (2 + 2 for weights and gradients, 12 for Adam), 2 a frozen one.
# Seen: 18 bytes a parameter, frozen or not: freezing 80 % of the weights changes nothing. ZeRO-2 takes 20 where ZeRO-3
#   takes 18, on one GPU too. On the meta device the model has 10,000 parameters instead of 50,000.
# Why: model_to_params sums all of model.parameters() and does not look at requires_grad. To count shared weights once
#   it keys them by data_ptr(), which is 0 for every meta tensor, so the last one stays. The formulas add 4 bytes for
#   gradients in 32 bits, and ZeRO-2 one more copy of the weights in 16 bits. (We read the source before the meta run.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6 setuptools==84.2.1
DS_BUILD_OPS=0 venv/bin/pip install -q --no-compile --no-build-isolation deepspeed==0.19.8

venv/bin/python - 2>log >all <<'PY'
import torch
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs as zero3
from deepspeed.runtime.zero.stage3 import model_to_params
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs as zero2
from torch import nn


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(100, 400, bias=False), nn.Linear(400, 25, bias=False))


frozen = model()
frozen[0].requires_grad_(False)
for name, which in (("trained", model()), ("80 % frozen", frozen), ("on meta", model().to("meta"))):
    total, largest = model_to_params(which)
    _, of_three, layer = zero3(total, largest, cpu_offload=False, cpu_offload_params=False)
    _, of_two = zero2(total, cpu_offload=False)
    three, two = (of_three - layer) / total, of_two / total
    print(f"seen: {name}: {total} parameters, ZeRO-3 {three:g}, ZeRO-2 {two:g} bytes each")
PY
grep '^seen' all >seen
diff seen - <<'SEEN'
seen: trained: 50000 parameters, ZeRO-3 18, ZeRO-2 20 bytes each
seen: 80 % frozen: 50000 parameters, ZeRO-3 18, ZeRO-2 20 bytes each
seen: on meta: 10000 parameters, ZeRO-3 18, ZeRO-2 20 bytes each
SEEN
