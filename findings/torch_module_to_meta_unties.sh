#!/usr/bin/env bash
# module.to("meta") unties shared parameters, so the module grows
#
# Who meets it: anyone who moves an encoder to the meta device to count parameters or plan memory without holding the
#   weights, where two parts share a table (position embedding, tied decoder, shared relative positions).
# Versions: torch 2.13.0, accelerate 1.15.0.
# Guess: .to() keeps sharing, as it does for a dtype or another device, and as deepcopy does.
# Seen: .to(torch.float64) and deepcopy keep one tensor of 64 entries. .to("meta") makes two, and so does
#   .to_empty(device="cpu") on a module that was made under torch.device("meta") with its sharing intact. accelerate's
#   estimate of the checkpoint's bytes doubles with it.
# Why: Module._apply swaps a parameter's data in place where old and new are of compatible types, which keeps
#   sharing. CPU and meta tensors are not, so each module gets a new Parameter.
#   torch.__future__.set_swap_module_params_on_conversion(True) keeps the sharing, see the last line.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6 accelerate==1.15.0

venv/bin/python - >seen <<'PY'
from copy import deepcopy

import torch
from accelerate.utils import calculate_maximum_sizes
from torch import nn


def tied() -> nn.Module:
    pair = nn.ModuleDict({"encoder": nn.Embedding(8, 8), "decoder": nn.Embedding(8, 8)})
    pair["decoder"].weight = pair["encoder"].weight
    return pair


def show(name: str, module: nn.Module) -> None:
    total, _ = calculate_maximum_sizes(module)
    print(f"{name}: {sum(p.numel() for p in module.parameters())} parameters, {total} bytes")


show("made on the CPU", tied())
show("deepcopy", deepcopy(tied()))
show("to(float64)", tied().to(torch.float64))
show("to('meta')", tied().to("meta"))
with torch.device("meta"):
    made = tied()
show("made on meta", made)
show("made on meta, to_empty('cpu')", made.to_empty(device="cpu"))
torch.__future__.set_swap_module_params_on_conversion(True)
show("to('meta'), swapping parameters", tied().to("meta"))
PY
diff seen - <<'SEEN'
made on the CPU: 64 parameters, 256 bytes
deepcopy: 64 parameters, 256 bytes
to(float64): 64 parameters, 512 bytes
to('meta'): 128 parameters, 512 bytes
made on meta: 64 parameters, 256 bytes
made on meta, to_empty('cpu'): 128 parameters, 512 bytes
to('meta'), swapping parameters: 64 parameters, 256 bytes
SEEN
