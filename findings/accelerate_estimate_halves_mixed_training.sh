#!/usr/bin/env bash
# accelerate's estimate says that bfloat16 mixed precision halves training memory, at float32 weights and Adam states
#
# Who meets it: anyone who plans the training of an encoder with "accelerate estimate-memory", whose column "Training
#   using Adam (Peak vRAM)" comes from here.
# Versions: accelerate 1.15.0.
# Guess: mixed precision with Adam needs 16 bytes a parameter for weights, gradients and states, as float32 does.
# Seen: 16 bytes for float32 and 8 for bfloat16. Yet the same estimate lists, for bfloat16, a model of 4 bytes,
#   gradients of 6 and an optimizer of 8: 18 bytes that are alive at the same time.
# Why: estimate_training_usage gives each phase its own size, and the peak is the largest of them. For float32 the phase
#   "step" is the sum, four times the model. For mixed precision it is the optimizer's states alone.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6 accelerate==1.15.0

venv/bin/python - 2>log >seen <<'PY'
from accelerate.commands.estimate import estimate_training_usage

PARAMETERS = 1_000_000
for precision in ("float32", "bfloat16"):
    phases = estimate_training_usage(4 * PARAMETERS, precision)
    print(precision, {name: size / PARAMETERS for name, size in phases.items()})
    print("  peak:", max(phases.values()) / PARAMETERS, "bytes a parameter")
PY
diff seen - <<'SEEN'
float32 {'model': 4.0, 'optimizer': 8.0, 'gradients': 4.0, 'step': 16.0}
  peak: 16.0 bytes a parameter
bfloat16 {'model': 4.0, 'optimizer': 8.0, 'gradients': 6.0, 'step': 8.0}
  peak: 8.0 bytes a parameter
SEEN
