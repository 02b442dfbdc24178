#!/usr/bin/env bash
# The result of F.fold, and the gradient of F.unfold, take the memory of all columns, not of the image
#
# Who meets it: anyone who runs overlapping windows through unfold and fold, such as HAT's overlapping cross-attention, whose
#   keys come from windows of 24 at a stride of 16.
# Versions: torch 2.13.0.
# Guess: a folded image has the memory of its pixels, and so has the gradient of what was unfolded.
# Seen: its storage is as large as the columns: 24 x 24 windows at a stride of 16 take 2.25 times the image, 3 x 3 at a stride of
#   1 nine times. A clone takes what it should.
# Why: col2im makes its output like the columns and then calls resize_, which never gives memory back (Col2Im.cpp; Col2Im.cu is
#   the same on CUDA).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6

venv/bin/python - 2>log >seen <<'PY'
import torch
import torch.nn.functional as F


def times(tensor):
    return tensor.untyped_storage().nbytes() / (tensor.numel() * tensor.element_size())


for kernel, stride, padding in ((24, 16, 4), (3, 1, 1), (16, 16, 0)):
    image = torch.randn(1, 8, 64, 64, requires_grad=True)
    columns = F.unfold(image, kernel, stride=stride, padding=padding)
    folded = F.fold(columns.detach(), (64, 64), kernel, stride=stride, padding=padding)
    seen = []
    image_as_is = image * 1.0
    image_as_is.register_hook(lambda gradient: seen.append(times(gradient)))
    F.unfold(image_as_is, kernel, stride=stride, padding=padding).sum().backward()
    print(f"{kernel}x{kernel} at {stride}: folded {times(folded):g}, gradient {seen[0]:g}, clone {times(folded.clone()):g} times the image")
PY
diff seen - <<'SEEN'
24x24 at 16: folded 2.25, gradient 2.25, clone 1 times the image
3x3 at 1: folded 9, gradient 9, clone 1 times the image
16x16 at 16: folded 1, gradient 1, clone 1 times the image
SEEN
