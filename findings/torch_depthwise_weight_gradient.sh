#!/usr/bin/env bash
# A depthwise convolution's backward pass counts 33 times its forward
#
# Who meets it: anyone who counts training FLOPs of encoders with depthwise convolutions (ConvNeXt, CvT, PVT v2,
#   the memory encoder of SAM 2) with FlopCounterMode.
# Versions: torch 2.13.0.
# Guess: backward is twice the forward, one for the input and one for the weight, whatever the groups.
# Seen: twice for groups=1. For a depthwise convolution of 32 channels the backward counts 33 times the forward:
#   the input's gradient once, the weight's gradient 32 times. The factor grows with the channels.
# Why: conv_backward_flop in torch/utils/flop_counter.py takes the weight's gradient for a dense convolution of the
#   input with the output's gradient. Its argument _groups is not used, and its docstring says that groups are skipped.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6

venv/bin/python - >seen <<'PY'
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

channels, side = 32, 8
for groups in (1, 2, channels):
    conv = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, device="meta")
    x = torch.zeros(1, channels, side, side, device="meta", requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        conv(x).sum().backward()
    counts = {op.__name__: flops for op, flops in counter.get_flop_counts()["Global"].items()}
    forward = counts["convolution"]
    assert forward == 2 * side * side * 9 * channels * channels // groups
    print(f"groups {groups}: forward {forward}, backward {counts['convolution_backward'] / forward:g} times that")
PY
diff seen - <<'SEEN'
groups 1: forward 1179648, backward 2 times that
groups 2: forward 589824, backward 3 times that
groups 32: forward 36864, backward 33 times that
SEEN
