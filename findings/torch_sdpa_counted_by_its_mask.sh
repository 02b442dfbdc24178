#!/usr/bin/env bash
# torch's FlopCounterMode counts CPU attention only when the mask learns
#
# Who meets it: anyone who counts a ViT's FLOPs on CPU tensors, with F.scaled_dot_product_attention and a
#   relative-position bias given as attn_mask.
# Versions: torch 2.13.0 on a CPU.
# Guess: the count depends on shapes only, so device, mask and requires_grad change nothing.
# Seen: 0 FLOPs on the CPU, for attention without a mask and with a frozen bias. The full 4,194,304 as soon as the
#   bias requires a gradient, and always on the meta device. A frozen model and the same model in training thus differ
#   in their forward count.
# Why: without a gradient for the mask the CPU runs one fused operator, _scaled_dot_product_flash_attention_for_cpu,
#   that torch/utils/flop_counter.py has no formula for. With one, attention falls back to two bmm, which it counts.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6

venv/bin/python - >seen <<'PY'
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

batch, heads, tokens, head_dim = 2, 8, 64, 16
print("by hand:", 2 * 2 * batch * heads * tokens * tokens * head_dim)
for device in ("cpu", "meta"):
    q = torch.zeros(batch, heads, tokens, head_dim, device=device)
    bias = torch.zeros(batch, heads, tokens, tokens, device=device)
    for name, mask in (("no", None), ("frozen", bias), ("learnt", bias.clone().requires_grad_())):
        with FlopCounterMode(display=False) as counter:
            F.scaled_dot_product_attention(q, q, q, attn_mask=mask)
        print(f"{device}, {name} bias:", counter.get_total_flops())
PY
diff seen - <<'SEEN'
by hand: 4194304
cpu, no bias: 0
cpu, frozen bias: 0
cpu, learnt bias: 4194304
meta, no bias: 4194304
meta, frozen bias: 4194304
meta, learnt bias: 4194304
SEEN
