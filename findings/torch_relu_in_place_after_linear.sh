#!/usr/bin/env bash
# ReLU in place after a linear layer makes a training step allocate more, until torch 2.15
#
# Who meets it: anyone who writes nn.ReLU(inplace=True) after nn.Linear to save memory, as Swin V2 does in its position bias, and
#   anyone who compares the memory of a training step of torch 2.13 and 2.15.
# Versions: torch 2.13.0 and 2.15.0.
# Guess: the graph of autograd has CopySlices in 2.13.0 and not in 2.15.0 (that we had seen), so the backward of ReLU in place makes two
#   tensors more in 2.13.0: a copy of the gradient and a copy of the part that changes.
# Seen: in 2.13.0 it makes three more: four tensors of the size of the output in place of one. The forward spares one, so the
#   step makes two more than with nn.ReLU(). In 2.15.0 it makes one. A layer without a bias, or for a matrix, makes one in both.
# Why: in 2.13.0 a linear layer with a bias returns a view of a matrix for inputs (..., N, C), and autograd copies the gradient of
#   a view that is changed in place, once in AsStridedBackward and twice in CopySlices. In 2.15.0 the layer returns a tensor that is
#   not a view (UnsafeViewBackward).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >program.py <<'PY'
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SIZE = 4 * 6 * 64  # numbers in the output of the layer


class Made(TorchDispatchMode):
    """Counts new tensors of the size of the output."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        known = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor) and x.untyped_storage()._cdata not in known:
                self.count += x.untyped_storage().nbytes() == SIZE * 4
        return out


print("torch", torch.__version__.partition("+")[0])
for words, bias, shape in (("(..., N, C)", True, (4, 6, 8)), ("(..., N, C), no bias", False, (4, 6, 8)), ("matrix", True, (24, 8))):
    for inplace in (False, True):
        model = nn.Sequential(nn.Linear(8, 64, bias=bias), nn.ReLU(inplace=inplace))
        with Made() as forward:
            out = model(torch.ones(shape))
        gradient = torch.ones_like(out)
        with Made() as backward:
            out.backward(gradient)
        print(f"{words}, in place {inplace}: {forward.count} made in forward, {backward.count} in backward")
PY
for version in 2.13.0 2.15.0; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install -q --no-compile "torch==$version" numpy==2.4.6
    "venv-$version/bin/python" program.py
    rm -r "venv-$version"
done >seen
diff seen - <<'SEEN'
torch 2.13.0
(..., N, C), in place False: 2 made in forward, 1 in backward
(..., N, C), in place True: 1 made in forward, 4 in backward
(..., N, C), no bias, in place False: 2 made in forward, 1 in backward
(..., N, C), no bias, in place True: 1 made in forward, 1 in backward
matrix, in place False: 2 made in forward, 1 in backward
matrix, in place True: 1 made in forward, 1 in backward
torch 2.15.0
(..., N, C), in place False: 2 made in forward, 1 in backward
(..., N, C), in place True: 1 made in forward, 1 in backward
(..., N, C), no bias, in place False: 2 made in forward, 1 in backward
(..., N, C), no bias, in place True: 1 made in forward, 1 in backward
matrix, in place False: 2 made in forward, 1 in backward
matrix, in place True: 1 made in forward, 1 in backward
SEEN
