#!/usr/bin/env bash
# jax.checkpoint changes neither FLOPs nor memory of a training step compiled for the CPU
#
# Who meets it: anyone who tries out rematerialisation for a GPU or TPU by analysing the step on a CPU.
# Versions: jax and jaxlib 0.10.2, CPU backend.
# Guess: checkpointed blocks add about a forward pass to the compiled FLOPs and lower the temporary bytes.
# Seen: the lowered program has the recomputation: half a forward pass more, since the second product of each block is
#   not needed again. The compiled one has the very figures of the step without checkpoint, in FLOPs and in temporary
#   bytes, and as many tanh.
# Why: lowered, the recomputation stands apart from the first computation by optimization barriers. The CPU compiler
#   merges the two as common subexpressions, although jax.checkpoint's prevent_cse is True by default.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6

JAX_PLATFORMS=cpu venv/bin/python - >seen <<'PY'
import jax
import jax.numpy as jnp

DEPTH, TOKENS, DIM, HIDDEN = 6, 512, 64, 256


def block(x, w1, w2):
    return jnp.tanh(x @ w1) @ w2


def step(one_block):
    def loss(weights, x):
        for w1, w2 in weights:
            x = x + one_block(x, w1, w2)
        return (x * x).sum()

    shape = lambda *size: jax.ShapeDtypeStruct(size, jnp.float32)
    weights = [(shape(DIM, HIDDEN), shape(HIDDEN, DIM))] * DEPTH
    lowered = jax.jit(jax.value_and_grad(loss)).lower(weights, shape(TOKENS, DIM))
    return lowered, lowered.compile()


forward = DEPTH * 2 * 2 * TOKENS * DIM * HIDDEN
(plain, plain_compiled), (again, again_compiled) = step(block), step(jax.checkpoint(block))
more = again.cost_analysis()["flops"] - plain.cost_analysis()["flops"]
print(f"lowered: {more / forward:.2f} forward passes more, barriers {again.as_text().count('optimization_barrier')}")
for name, figure in (
    ("FLOPs", lambda c: c.cost_analysis()["flops"]),
    ("temporary bytes", lambda c: c.memory_analysis().temp_size_in_bytes),
    ("tanh", lambda c: c.as_text().count(" tanh(")),
):
    print(f"compiled, {name} the same:", figure(plain_compiled) == figure(again_compiled))
PY
diff seen - <<'SEEN'
lowered: 0.50 forward passes more, barriers 6
compiled, FLOPs the same: True
compiled, temporary bytes the same: True
compiled, tanh the same: True
SEEN
