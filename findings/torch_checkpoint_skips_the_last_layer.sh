#!/usr/bin/env bash
# Activation checkpointing recomputes two thirds of an MLP block's FLOPs, not all of them
#
# Who meets it: anyone who plans training with activation checkpointing by the rule "one more forward pass".
# Versions: torch 2.13.0.
# Guess: a checkpointed block runs its forward pass twice, with use_reentrant=True and with False.
# Seen: with use_reentrant=True it does. With False, which torch recommends, the block's last linear layer is not run
#   again: 1/2 of an MLP's forward is recomputed, and 2/3 of what qkv, proj and the MLP of a ViT block cost together.
#   The rule of "4 forward passes instead of 3" becomes 3.67 for the linear layers of such a block.
# Why: the non-reentrant form stops as soon as every tensor that backward needs is there again. The output of the last
#   layer is not one of them. torch documents this as set_checkpoint_early_stop, which is on by default.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6

venv/bin/python - >seen <<'PY'
from fractions import Fraction

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode


class Mixer(nn.Module):
    """The linear layers of a ViT block, without its attention product: 12 C^2 weights."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.mlp = nn.Sequential(nn.Linear(c, 4 * c), nn.GELU(), nn.Linear(4 * c, c))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        x = x + self.proj(q * k * v)
        return x + self.mlp(x)


def flops(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run(torch.zeros(4, 16, device="meta", requires_grad=True)).sum().backward()
    return counter.get_total_flops()


block = Mixer(16).to("meta")
for name, module in (("MLP", block.mlp), ("block", block)):
    plain = flops(module)
    for early, reentrant in ((True, True), (True, False), (False, False)):
        with set_checkpoint_early_stop(early):
            again = flops(lambda x: checkpoint(module, x, use_reentrant=reentrant)) - plain
        print(f"{name}, reentrant {reentrant}, early stop {early}: recomputed {Fraction(again, plain // 3)} forward")
PY
diff seen - <<'SEEN'
MLP, reentrant True, early stop True: recomputed 1 forward
MLP, reentrant False, early stop True: recomputed 1/2 forward
MLP, reentrant False, early stop False: recomputed 1 forward
block, reentrant True, early stop True: recomputed 1 forward
block, reentrant False, early stop True: recomputed 2/3 forward
block, reentrant False, early stop False: recomputed 1 forward
SEEN
