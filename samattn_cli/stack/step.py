"""Runs a pass: an inference forward, or a training step. Everything that is measured is run by this module."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..encoder.model import EncoderConfig
from .encoder import freeze, image_for, in_training_mode, in_tuple
from .implementation import build_implementation
from .parallel import in_ddp, shard, shared_out

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": AdamW,
    "sgd_momentum": partial(SGD, momentum=0.9),
    "sgd": SGD,
}
"""Each with torch.optim's defaults."""

GRADIENT = 1e-3
"""The gradient of each output, which a decoder would pass back."""

SEED = 0


class Step:
    """A pass of an encoder on a device, with all that it needs; call it to run the pass."""

    def __init__(self, config: EncoderConfig, device: str) -> None:
        self.model = build_implementation(config, device)
        self.run: Callable[..., Any] = self.model
        """What a pass calls: the model itself, or the model in DistributedDataParallel or through torch.compile."""
        self.is_compiled = False
        torch.manual_seed(SEED)
        self.image = image_for(
            config, device
        ).normal_()  # denormal numbers in uninitialized memory would be slow
        self.settings = config.run
        self.optimizer: Optimizer | None = None
        self.scaler: GradScaler | None = None
        self.average: AveragedModel | None = None
        if config.run.mode == "training" or config.run.grad:
            freeze(self.model, config)
        if config.run.mode == "training" and config.run.ema:
            self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn())
        if config.run.is_fsdp:
            shard(self.model, device, config.run)
            if self.average is not None:  # a model cannot be copied once it is sharded
                shard(self.average.module, device, config.run)
        if config.run.mode == "training":
            trained = [weight for weight in self.model.parameters() if weight.requires_grad]
            make = OPTIMIZERS[config.run.optimizer]
            in_training_mode(self.model, config)
            self.optimizer = shared_out(trained, make, config.run) if config.run.is_zero1 else make(trained)
            self._prepare(device)

    def _prepare(self, device: str) -> None:
        """What a training step has around its model: scaler, DistributedDataParallel."""
        if self.settings.grad_scaler:
            self.scaler = GradScaler(self.image.device.type)
        if self.settings.is_ddp:
            self.run = in_ddp(self.model, device, self.settings)

    def compile(self, mode: str) -> None:
        """Run the model through torch.compile."""
        self.run = torch.compile(self.model, mode=mode)
        self.is_compiled = True

    def __call__(self) -> None:
        """Run one pass and drop its output."""
        if self.is_compiled:
            torch.compiler.cudagraph_mark_step_begin()  # the outputs of the pass before are not used any more
        if self.optimizer is None:
            forward_only(self.run, self.image, grad=self.settings.grad)
        else:
            self._train(self.optimizer)

    def _train(self, optimizer: Optimizer) -> None:
        """Run micro-batches, and the optimizer's step. The gradients of the last step are freed where the run says."""
        run = self.settings
        if run.zero_grad == "before_forward":
            optimizer.zero_grad(set_to_none=True)
        live: list[Tensor] = []  # outputs and their gradients
        for number in range(run.accumulate):
            live.clear()
            live += forward(self.run, self.image)
            if number == 0 and run.zero_grad == "after_forward":
                optimizer.zero_grad(set_to_none=True)
            if self.scaler is not None:
                self.scaler.scale(torch.zeros((), device=self.image.device))  # a loss
            live += backward(tuple(live))
        self._update(optimizer)
        if run.zero_grad == "after_step":
            optimizer.zero_grad(set_to_none=True)

    def _update(self, optimizer: Optimizer) -> None:
        """The optimizer's step, in which the scaler unscales the gradients, and the update of the moving average."""
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)


def forward_only(model: Callable[..., Any], image: Tensor, *, grad: bool = False) -> Tensor:
    """An inference forward; with `grad`, autograd keeps its graph as long as its output lives."""
    with torch.set_grad_enabled(grad):
        return model(image)


def forward(model: Callable[..., Any], image: Tensor) -> tuple[Tensor, ...]:
    """The outputs of a forward that autograd follows."""
    return in_tuple(model(image))


def backward(outputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Run the backward from a dense gradient of each output that takes one; returns these gradients."""
    outputs = tuple(each for each in outputs if each.requires_grad)
    gradients = [torch.full_like(each, GRADIENT, memory_format=torch.preserve_format) for each in outputs]
    torch.autograd.backward(outputs, gradients)
    return gradients
