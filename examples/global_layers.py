"""How many global layers a training step on a card has room for under each kernel, and what placements of 4 see.

python examples/global_layers.py [PRESET]
"""

import sys

from samattn_cli import Asked, compare_placements, fit, load_config, load_device

config = load_config(sys.argv[1] if len(sys.argv) > 1 else "sam_vit_h")

for answer in fit(config, load_device("rtx_4090"), Asked(vary=["global_layers"], modes=["training"])).answers:
    print(f"{answer.attention}: {answer.label or 'none fit'}")

for placement in compare_placements(config, ["even:4", "first:4", "last:4"]).placements:
    gib, first = placement.figures.training_bytes / 2**30, placement.flow.first_full_context
    print(f"{' = '.join(placement.names)}: {gib:.2f} GiB in training, layer {first} is the first to see all")
