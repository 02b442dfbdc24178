"""How a pass is run: an inference forward, or a training step. Everything that is measured goes through here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from ..encoder.model import EncoderConfig
from .encoder import build, freeze, image_for

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": AdamW,
    "sgd_momentum": partial(SGD, momentum=0.9),
    "sgd": SGD,
}
"""As torch.optim has them by default."""

GRADIENT = 1e-3
"""Of every output of the encoder, as a decoder would hand it back."""

SEED = 0


class Step:
    """The encoder of a config on a device, with what a pass of it needs; call it to run one."""

    def __init__(self, config: EncoderConfig, device: str) -> None:
        self.model = build(config, device)
        torch.manual_seed(SEED)
        self.image = image_for(config, device).normal_()  # what `empty` leaves may be slow to compute with
        self.optimizer: Optimizer | None = None
        if config.run.mode == "training":
            freeze(self.model, config)
            trained = [weight for weight in self.model.parameters() if weight.requires_grad]
            self.optimizer = OPTIMIZERS[config.run.optimizer](trained)

    def __call__(self) -> None:
        """Run one pass; what comes out is dropped."""
        if self.optimizer is None:
            forward_only(self.model, self.image)
        else:
            training_step(self.model, self.image, self.optimizer)


def forward_only(model: nn.Module, image: Tensor) -> Tensor:
    """An inference forward."""
    with torch.no_grad():
        return model(image)


def training_step(model: nn.Module, image: Tensor, optimizer: Optimizer) -> None:
    """Forward, backward from a dense gradient of the output, and the optimizer's step."""
    optimizer.zero_grad(set_to_none=True)
    output = model(image)
    outputs = output if isinstance(output, tuple) else (output,)
    gradients = [torch.full_like(each, GRADIENT, memory_format=torch.preserve_format) for each in outputs]
    torch.autograd.backward(outputs, gradients)
    optimizer.step()
