#!/usr/bin/env bash
# An encoder exported to ONNX before training has fewer parameters than the same one exported after it
#
# Who meets it: anyone who exports an untrained encoder to count the parameters and MACs of its ONNX file. SAM starts
#   with its position embedding and relative positions at 0.
# Versions: torch 2.13.0, onnx 1.23.2, onnxscript 0.7.2, onnxslim 0.1.98.
# Guess: the file's initializers hold the module's parameters, whatever their values, before and after onnxslim.
# Seen: 14,656 parameters are 14,560 in the file of a fresh encoder, and 8,416 after onnxslim, which also drops the two
#   additions. With any other values they are 14,656, and 14,624 after onnxslim.
# Why: torch's exporter stores equal tensors once, and every fresh LayerNorm has the same ones and zeros. onnxslim takes
#   out additions of all zeros and products with all ones, and folds a LayerScale into the linear layer before it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6 onnx==1.23.2 onnxscript==0.7.2 onnxslim==0.1.98

venv/bin/python - 2>log >seen <<'PY'
import math
from contextlib import redirect_stdout
from io import StringIO

import onnx
import onnxslim
import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self, tokens: int = 64, dim: int = 32) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, dim))
        self.rel_pos = nn.Parameter(torch.zeros(tokens, tokens))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.layer_scale = nn.Parameter(torch.ones(dim))
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.pos_embed
        scores = x @ x.transpose(1, 2) * 0.1 + self.rel_pos
        x = x + scores.softmax(-1) @ self.norm1(x)
        return x + self.layer_scale * self.mlp(self.norm2(x))


def weights(model: onnx.ModelProto) -> int:
    sizes = [math.prod(i.dims) for i in model.graph.initializer if i.data_type == onnx.TensorProto.FLOAT]
    return sum(size for size in sizes if size > 1)  # not the constants of the graph


encoder = Encoder().eval()
print("module:", sum(p.numel() for p in encoder.parameters()))
for state in ("fresh", "trained"):
    with redirect_stdout(StringIO()):
        torch.onnx.export(encoder, (torch.zeros(1, 64, 32),), "e.onnx", external_data=False, verbose=False)
    exported, slim = onnx.load("e.onnx"), onnxslim.slim("e.onnx")
    added = sum(node.op_type == "Add" for node in slim.graph.node)
    print(f"{state}: exported {weights(exported)}, slimmed {weights(slim)} with {added} additions")
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
PY
diff seen - <<'SEEN'
module: 14656
fresh: exported 14560, slimmed 8416 with 2 additions
trained: exported 14656, slimmed 14624 with 4 additions
SEEN
