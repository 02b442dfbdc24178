#!/usr/bin/env bash
# A Swin of transformers that has seen one small image runs without shifted windows from then on
#
# Who meets it: anyone who gives one SwinModel or DonutSwinModel images of several sizes: an evaluation at several scales, a
#   server, a test that first runs a small image. Its answer for a large image depends on which images came before.
# Versions: transformers 5.24.0, torch 2.13.0.
# Guess: a layer compares its grid with its window in each forward, and shifts again as soon as the grid is larger.
# Seen: Swin-T at 448 px has two layers on a grid of 14x14, and shifts the windows of the second one. After one image of 224 px
#   (a grid of 7x7, one window) it does not, and the same 448 px image gets another answer. Loading the weights again does not
#   bring the shift back; a new model does. Donut's Swin does the same. Swin V2 of transformers decides once, when it is
#   built, so that its answer does not change.
# Why: SwinLayer.set_shift_and_window_size writes a zero into self.shift_size in the forward, and nothing writes the shift back.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --no-compile torch==2.13.0 numpy==2.4.6 transformers==5.24.0

HF_HUB_OFFLINE=1 venv/bin/python - 2>log >seen <<'PY'
import torch
from transformers import DonutSwinConfig, DonutSwinModel, SwinConfig, SwinModel, Swinv2Config, Swinv2Model


def shifts(model):
    return [[int(block.shift_size) for block in stage.blocks] for stage in model.encoder.layers]


def answer(model, image):
    with torch.no_grad():
        return model(image).last_hidden_state


for config_class, model_class, size, small in (
    (SwinConfig, SwinModel, 448, 224),
    (DonutSwinConfig, DonutSwinModel, 448, 224),
    (Swinv2Config, Swinv2Model, 512, 256),
):
    torch.manual_seed(0)
    model = model_class(config_class(image_size=small)).eval()
    weights = model.state_dict()
    image = torch.randn(1, 3, size, size)
    before = answer(model, image)
    print(model_class.__name__, "shifts of the last stage:", shifts(model)[-1])
    answer(model, torch.randn(1, 3, small, small))
    after = answer(model, image)
    print(f"  after one image of {small} px:", shifts(model)[-1])
    print(f"  the same image of {size} px gets the same answer:", torch.equal(before, after))
    model.load_state_dict(weights)
    print("  with the weights loaded again:", torch.equal(before, answer(model, image)))
    fresh = model_class(config_class(image_size=small)).eval()
    fresh.load_state_dict(weights)
    print("  in a new model:", torch.equal(before, answer(fresh, image)))
PY

cat >stated <<'STATED'
SwinModel shifts of the last stage: [0, 3]
  after one image of 224 px: [0, 0]
  the same image of 448 px gets the same answer: False
  with the weights loaded again: False
  in a new model: True
DonutSwinModel shifts of the last stage: [0, 3]
  after one image of 224 px: [0, 0]
  the same image of 448 px gets the same answer: False
  with the weights loaded again: False
  in a new model: True
Swinv2Model shifts of the last stage: [0, 3]
  after one image of 256 px: [0, 3]
  the same image of 512 px gets the same answer: True
  with the weights loaded again: True
  in a new model: True
STATED
diff stated seen && echo "as stated"
