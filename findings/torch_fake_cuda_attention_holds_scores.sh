#!/usr/bin/env bash
# On a machine without a GPU, a fake CUDA tensor takes attention that holds its scores: torch's MemTracker says 40 times the memory
#
# Who meets it: anyone who plans memory with FakeTensorMode on a laptop or in CI: torch.distributed._tools (MemTracker,
#   the estimators of FSDP and of automatic checkpointing), torch.export on fake CUDA tensors, a script with FlopCounterMode.
# Versions: torch 2.14.1 (CUDA 13.0, from PyPI).
# Guess: a fake tensor on "cuda" takes one of CUDA's fused kernels of scaled_dot_product_attention, as a GPU does, or at least
#   the same kernel as a fake tensor on "cpu".
# Seen: SAM ViT-B's global attention (4096 tokens, 12 heads of 64 channels, bfloat16, no gradient) takes 42,473,472 B at the peak
#   on a fake CPU and 1,690,834,944 B on a fake CUDA device. On fake CUDA and on meta the scores are made (_safe_softmax); on a
#   fake CPU the flash kernel is taken.
# Why: torch chooses the kernel by the properties of the GPU that the CUDA runtime reports, and falls back to math without one.
#   Over a stub of the CUDA runtime that reports an A100, the same program takes flash on fake CUDA, with 42,473,472 B.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.14.1 numpy==2.4.6

CUDA_VISIBLE_DEVICES="" venv/bin/python - 2>log >seen <<'PY'
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils._python_dispatch import TorchDispatchMode


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(768, 3 * 768), nn.Linear(768, 768)

    def forward(self, tokens):
        batch, count, channels = tokens.shape
        q, k, v = self.qkv(tokens).view(batch, count, 3, 12, 64).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, count, channels))


class Kernels(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if "attention" in name or "softmax" in name:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


torch.set_default_dtype(torch.bfloat16)
print("torch", torch.__version__, "sees a GPU:", torch.cuda.is_available())
for device in ("cpu", "cuda", "meta"):
    with torch.no_grad(), FakeTensorMode():
        with torch.device(device):
            module, tokens = Attention(), torch.empty(1, 4096, 768)
        tracker, kernels = MemTracker(), Kernels()
        tracker.track_external(module, tokens)
        with tracker:
            module(tokens)
        with kernels:
            module(tokens)
        (peak,) = tracker.get_tracker_snapshot("peak").values()
        print(f"{device}: {', '.join(kernels.seen)}; peak {peak['Total']:,} B")
PY

cat >stated <<'STATED'
torch 2.14.1+cu130 sees a GPU: False
cpu: _scaled_dot_product_flash_attention_for_cpu; peak 42,473,472 B
cuda: _safe_softmax; peak 1,690,834,944 B
meta: _safe_softmax; peak 1,690,834,944 B
STATED
diff stated seen && echo "as stated"
