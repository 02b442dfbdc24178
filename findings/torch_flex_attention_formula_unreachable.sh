#!/usr/bin/env bash
# FlopCounterMode has a formula for flex_attention, raises when it runs, and leaves it broken afterwards
#
# Who meets it: anyone who writes windowed or neighbourhood attention with flex_attention and counts its FLOPs.
# Versions: torch 2.13.0 on a CPU.
# Guess: the counter gives the dense count, 4 * heads * tokens^2 * head_dim, with a block mask and without one.
# Seen: under the counter the call raises a TypeError, although the formula is in the counter's registry. The same call
#   without the counter, which ran before, then raises too, until torch._dynamo.reset() is called.
# Why: flex_attention called eagerly compiles itself, with a TorchFunctionMode of its own
#   (TransformGetItemToIndex). Under the counter's dispatch mode the operator is dispatched to that mode, which has no
#   implementation of it. The formula serves whoever walks a traced graph. Why the failure lasts is not known to us.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6

venv/bin/python - 2>log >seen <<'PY'
import torch
from torch.nn.attention.flex_attention import flex_attention
from torch.utils.flop_counter import FlopCounterMode, flop_registry

print("has a formula:", torch.ops.higher_order.flex_attention in flop_registry)


def show(when: str) -> None:
    q = torch.zeros(1, 2, 256, 16)
    try:
        print(f"{when}:", list(flex_attention(q, q, q).shape))
    except Exception as error:
        print(f"{when}: {type(error).__name__}, {str(error).splitlines()[0].split(' on types')[0]}")


show("before")
with FlopCounterMode(display=False) as counter:
    show("under the counter")
print("counted:", counter.get_total_flops())
show("after")
torch._dynamo.reset()
show("after a reset")
PY
diff seen - <<'SEEN'
has a formula: True
before: [1, 2, 256, 16]
under the counter: TypeError, no implementation found for 'torch.ops.higher_order.flex_attention'
counted: 0
after: Unsupported, Attempted to call function marked as skipped
after a reset: [1, 2, 256, 16]
SEEN
