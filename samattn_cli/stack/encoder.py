"""The real encoder: the parts and blocks of a config's plan, run in order.

A part's code is its family's, a file here each. Names are those of the plan, which are SAM's where SAM has them: a
released checkpoint's ``image_encoder.*`` entries load with ``strict=True``.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..encoder.model import EncoderConfig
from ..encoder.plan import LayerConfig, PartConfig
from ..encoder.registry import code_for, module_for
from .cuda import AutocastOnCuda
from .fold import CONTAINER
from .norms import NORM_EPS

Outputs = Tensor | tuple[Tensor, ...]


class ImageEncoder(nn.Module):
    """The encoder that a config describes."""

    pos_embed: nn.Parameter | nn.Module | None

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.pos_embed = None
        containers = {container for part in config.plan if (container := part.name.rpartition(".")[0])}
        for container in sorted(containers):
            self.add_module(container, nn.ModuleDict())
        self.plan = tuple((part.name, part.taps) for part in config.plan)
        for part in config.plan:
            made = _make(part, config.run.attention)
            container, _, key = part.name.rpartition(".")
            if container:
                self.get_submodule(container).add_module(key, made)
            else:
                setattr(self, part.name, made)
        self.checkpointing = config.run.checkpointing
        self.autocast = None if config.run.autocast == "none" else getattr(torch, config.run.autocast)

    def forward(self, x: Tensor) -> Outputs:
        """What comes in has the shape of `image_for`; what comes out is the neck's, else (B, H, W, C)."""
        with self._autocast(x):
            return self._forward(x)

    def _autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return AutocastOnCuda(self.autocast) if x.is_meta else torch.autocast(x.device.type, self.autocast)

    def _forward(self, x: Tensor) -> Outputs:
        uses = Counter(tap for _, taps in self.plan for tap in taps)  # those still to come
        tapped: dict[str, tuple[Tensor, ...]] = {}
        outputs: tuple[Tensor, ...] = (x,)
        for name, taps in self.plan:
            uses.subtract(taps)
            taken = [t for tap in taps for t in (tapped[tap] if uses[tap] else tapped.pop(tap))]
            outputs = self._run(name, outputs[0], *taken)
            if uses[name]:
                tapped[name] = outputs[1:] or outputs
            elif name != self.plan[-1][0]:
                outputs = outputs[:1]  # what no part takes goes
        return outputs if len(outputs) > 1 else outputs[0]

    def _run(self, name: str, x: Tensor, *taken: Tensor) -> tuple[Tensor, ...]:
        """The outputs of a part, of the stream and of what it taps."""
        if isinstance(self.pos_embed, nn.Parameter) and name == "pos_embed":
            return (x + self.pos_embed,)
        part = self.get_submodule(name)
        if self.checkpointing and name.startswith(CONTAINER) and torch.is_grad_enabled():
            return (self._checkpointed(part, x, *taken),)
        out = part(x, *taken)
        return out if isinstance(out, tuple) else (out,)

    def _checkpointed(self, block: nn.Module, x: Tensor, *taken: Tensor) -> Tensor:
        again = (
            self._autocast(x) if x.is_meta else nullcontext()
        )  # a device's own is restored by checkpoint itself
        return checkpoint(
            block,
            x,
            *taken,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), again),
        )


def _make(part: PartConfig | LayerConfig, kernel: str) -> Any:
    if isinstance(part, LayerConfig):
        return code_for("stack", "blocks", part.stage.block)(part, kernel)
    if not part.slot:
        blocks = module_for("stack", "blocks", part.config.stages[-1].block)
        return nn.LayerNorm(part.entering.dim, eps=getattr(blocks, "NORM_EPS", NORM_EPS))
    return code_for("stack", part.slot, part.word)(part)


def build(config: EncoderConfig, device: str = "cpu") -> ImageEncoder:
    """The encoder of `config` in its dtype on `device` ("meta" takes no memory), in evaluation mode."""
    with torch.device(device):
        return ImageEncoder(config).to(getattr(torch, config.run.dtype)).eval()


def freeze(model: ImageEncoder, config: EncoderConfig) -> ImageEncoder:
    """`model`, of whose weights only those are left to train that `config` says: all, or those of adapters."""
    if config.run.trains == "adapters":
        model.requires_grad_(False)
        for module in model.modules():
            if getattr(module, "adapts", False):
                module.requires_grad_(True)
    return model


def image_for(config: EncoderConfig, device: str = "cpu") -> Tensor:
    """An input of the size, batch and dtype of `config`: (B, in_chans, height, width) unless the encoder takes another."""
    return torch.empty(config.input_shape, dtype=getattr(torch, config.run.dtype), device=device)
