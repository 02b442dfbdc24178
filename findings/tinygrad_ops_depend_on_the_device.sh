#!/usr/bin/env bash
# tinygrad's GlobalCounters.global_ops gives one product another count on another device
#
# Who meets it: anyone who reads FLOPs from GlobalCounters or from the GFLOPS that DEBUG=2 prints.
# Versions: tinygrad 0.14.0, devices NULL (compiles nothing, made for counting) and PYTHON.
# Guess: a product of (64, 32) by (32, 16) is 2 * 64 * 32 * 16 operations everywhere.
# Seen: 64,512 on NULL and 344,064 on PYTHON. The windows of a padded grid, 2 x 2 windows of 7 x 7 from a 10 x 10 grid,
#   cost 846,727 on NULL when padding and projection run as one kernel, and 1,185,415 when the windows are made
#   contiguous first. A count of the product's shapes says 1,204,224.
# Why: the count is taken from the instructions of the compiled kernel (see tinygrad's Estimates), not from the tensors'
#   shapes: how a device's code is optimised, and what is fused, changes it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile tinygrad==0.14.0

cat >count.py <<'PY'
from tinygrad import Device, GlobalCounters, Tensor


def made(*shape):
    return Tensor.empty(*shape).contiguous().realize()


def ops(tensor):
    GlobalCounters.reset()
    tensor.realize()
    return GlobalCounters.global_ops


a, b, grid, weight = made(64, 32), made(32, 16), made(1, 10, 10, 32), made(32, 96)
padded = grid.pad(((0, 0), (0, 4), (0, 4), (0, 0)))
windows = padded.reshape(1, 2, 7, 2, 7, 32).permute(0, 1, 3, 2, 4, 5).reshape(4, 49, 32)
print(Device.DEFAULT, "product", ops(a @ b), "of", 2 * 64 * 32 * 16)
print(Device.DEFAULT, "windows", ops(windows @ weight), "of", 2 * 4 * 49 * 32 * 96)
print(Device.DEFAULT, "contiguous windows", ops(windows.contiguous() @ weight))
PY
for device in NULL PYTHON; do DEV=$device venv/bin/python count.py; done >seen
diff seen - <<'SEEN'
NULL product 64512 of 65536
NULL windows 846727 of 1204224
NULL contiguous windows 1185415
PYTHON product 344064 of 65536
PYTHON windows 847392 of 1204224
PYTHON contiguous windows 1185632
SEEN
