#!/usr/bin/env bash
# Written q @ k, attention costs nothing in calflops and ptflops; written torch.matmul(q, k), it counts
#
# Who meets it: anyone who compares a published GFLOPs figure of SAM or ViTDet, whose code writes q @ k and attn @ v,
#   with that of an encoder that calls torch.matmul.
# Versions: calflops 0.3.2, ptflops 0.7.5 (backends pytorch and aten), torch 2.13.0.
# Guess: both count a matrix product in either spelling, since both end in the same operator.
# Seen: calflops and ptflops' default backend count the product as torch.matmul and as a method, and count 0 as @.
#   ptflops' other backend counts all three.
# Why: both tools replace Python functions while they count: torch.matmul, torch.bmm, Tensor.matmul, and so on. The
#   operator @ calls Tensor.__matmul__, which is not replaced. ptflops' aten backend sees ATen operators.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6 calflops==0.3.2 ptflops==0.7.5 \
    accelerate==1.15.0 transformers==5.24.0

venv/bin/python - >seen <<'PY'
import torch
from calflops import calculate_flops
from ptflops import get_model_complexity_info
from torch import nn

SHAPE = (4, 64, 16)  # heads, tokens, head_dim
SPELLINGS = {
    "@": lambda q, k: q @ k,
    "Tensor.matmul": lambda q, k: q.matmul(k),
    "torch.matmul": lambda q, k: torch.matmul(q, k),
}


class Scores(nn.Module):
    def __init__(self, product) -> None:
        super().__init__()
        self.scale, self.product = nn.Linear(1, 1), product

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.product(x, x.transpose(-2, -1))


print("by hand:", 4 * 64 * 64 * 16)
for name, product in SPELLINGS.items():
    model = Scores(product).eval()
    _, macs, _ = calculate_flops(
        model=model, input_shape=(1, *SHAPE), output_as_string=False, print_results=False
    )
    macs = {"calflops": macs}
    for backend in ("pytorch", "aten"):
        macs[f"ptflops {backend}"], _ = get_model_complexity_info(
            model, SHAPE, as_strings=False, print_per_layer_stat=False, backend=backend
        )
    print(f"{name}:", ", ".join(f"{tool} {count}" for tool, count in macs.items()))
PY
diff seen - <<'SEEN'
by hand: 262144
@: calflops 0, ptflops pytorch 0, ptflops aten 262144
Tensor.matmul: calflops 262144, ptflops pytorch 262144, ptflops aten 262144
torch.matmul: calflops 262144, ptflops pytorch 262144, ptflops aten 262144
SEEN
